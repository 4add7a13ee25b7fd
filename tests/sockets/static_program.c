/* Linked statically, so that nothing can be loaded into it. `pno-static-program echo`: copies its
   standard input to its standard output, which are one socket. */
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char bytes[1024];
    ssize_t got;
    if (argc != 2 || strcmp(argv[1], "echo") != 0)
        return 2;
    while ((got = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0) {
        for (ssize_t put = 0, now; put < got; put += now) {
            now = write(STDOUT_FILENO, bytes + put, (size_t)(got - put));
            if (now < 0)
                return 1;
        }
    }
    return got == 0 ? 0 : 1;
}
