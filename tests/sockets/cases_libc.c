/* What libc does with descriptors under other names than the socket calls'. */
#include <arpa/nameser.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <resolv.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

#include "case.h"

/* Exported by libc, declared nowhere. */
ssize_t __read(int fd, void *buffer, size_t count);
ssize_t __write(int fd, const void *buffer, size_t count);
ssize_t __send(int fd, const void *buffer, size_t count, int flags);
int __connect(int fd, const struct sockaddr *address, socklen_t length);
int __close(int fd);
int __dup2(int fd, int copy);
int __fcntl(int fd, int command, ...);
int __poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int bindresvport(int fd, struct sockaddr_in *address);
int isfdtype(int fd, int type);

static void say_read(const char *what, int fd)
{
    char bytes[200];
    (void)wait_for(fd, POLLIN);
    say_bytes(what, recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), bytes);
}

static void other_spellings(const struct case_context *context)
{
    struct sockaddr_storage address;
    char bytes[16];
    int listener = make_listener(context, 1);
    socklen_t length = loopback(context, &address, port_of(listener));
    int fd = make_socket(context, 0);
    say_result("__connect", __connect(fd, (struct sockaddr *)&address, length));
    int accepted = accept(listener, NULL, NULL);
    say_result("__write", __write(fd, "one", 3));
    say_bytes("__read", __read(accepted, bytes, sizeof(bytes)), bytes);
    say_result("__send", __send(accepted, "two", 3, 0));
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    say_result("__poll", __poll(&pollfd, 1, CASE_WAIT_MS));
    say_events("events", (unsigned)pollfd.revents);
    int copy = __fcntl(fd, F_DUPFD, 100);
    say_bytes("read of a copy", read(copy, bytes, sizeof(bytes)), bytes);
    say_result("__dup2", __dup2(fd, 101));
    __close(fd);
    __close(copy);
    say_result("last copy", write(101, "three", 5));
    say_read("read", accepted);
    close(101);
    say_read("end", accepted);
    close(accepted);
    close(listener);
}

static void formatted_output(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    say_result("dprintf", dprintf(pair[0], "%d %s\n", 12, "green bottles"));
    say_read("read", pair[1]);
    say_result("nothing", dprintf(pair[0], "%s", ""));
    say_result("much", dprintf(pair[0], "%099999d", 7));
    char *bytes = malloc(100000);
    say_result("read much", read_to_end(pair[1], bytes, 99999));
    say("end of it '%c'", bytes[99998]);
    free(bytes);
    close(pair[1]);
    signal(SIGPIPE, SIG_IGN);
    dprintf(pair[0], "reset");
    settle();
    say_result("after the end", dprintf(pair[0], "x"));
    close(pair[0]);
    say_result("closed", dprintf(pair[0], "x"));
}

static void stream_before_connect(const struct case_context *context)
{
    char line[64] = "";
    int listener = make_listener(context, 1);
    int fd = make_socket(context, 0);
    FILE *stream = fdopen(fd, "r+");
    say("stream %d, fileno %d", stream != NULL, fileno(stream) == fd);
    say_result("connect", connect_to(context, fd, port_of(listener)));
    int accepted = accept(listener, NULL, NULL);
    say_result("fputs", fputs("question\n", stream) >= 0);
    say_result("fflush", fflush(stream));
    say_read("read", accepted);
    send(accepted, "answer\n", 7, 0);
    say("fgets %s", fgets(line, sizeof(line), stream) != NULL ? line : "nothing\n");
    say_result("fclose", fclose(stream));
    say_read("end", accepted);
    close(accepted);
    close(listener);
}

static void stream_buffers(const struct case_context *context)
{
    int pair[2];
    char bytes[16384];
    make_pair(context, pair);
    FILE *stream = fdopen(pair[0], "w");
    for (int i = 0; i < 5000; i++)
        fputc('x', stream);
    settle();
    say_result("flushed by itself", recv(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT));
    fflush(stream);
    settle();
    say_result("the rest", recv(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT));
    fclose(stream);
    close(pair[1]);
    say("wrong mode %d", fdopen(pair[1], "q") == NULL);
}

/* Refused by what a socket is. */
static void not_for_sockets(const struct case_context *context)
{
    int pair[2], ends[2];
    char bytes[8];
    struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    make_pair(context, pair);
    if (pipe(ends) < 0)
        say_result("pipe", -1);
    int file = memfd_create("case", MFD_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        int fd = pair[i];
        say_result("pread", pread(fd, bytes, sizeof(bytes), 0));
        say_result("pwrite", pwrite(fd, bytes, sizeof(bytes), 0));
        say_result("preadv", preadv(fd, &part, 1, 0));
        say_result("pwritev", pwritev(fd, &part, 1, 0));
        say_result("lseek", lseek(fd, 0, SEEK_CUR));
        say_result("tee", tee(fd, ends[1], 8, 0));
        say_result("tee to it", tee(ends[0], fd, 8, SPLICE_F_NONBLOCK));
        say_result("vmsplice", vmsplice(fd, &part, 1, 0));
        say_result("copy_file_range", copy_file_range(fd, NULL, file, NULL, 8, 0));
        say_result("copy_file_range to it", copy_file_range(file, NULL, fd, NULL, 8, 0));
        say_result("sendfile of it", sendfile(file, fd, NULL, 8));
        say_result("ftruncate", ftruncate(fd, 0));
        say_result("fsync", fsync(fd));
        say_result("fallocate", posix_fallocate(fd, 0, 8));
        say_result("fadvise", posix_fadvise(fd, 0, 8, POSIX_FADV_NORMAL));
        say_result("fchdir", fchdir(fd));
        say("fdopendir %d", fdopendir(fd) == NULL);
        say_result("isatty", isatty(fd));
        say("mmap %d", mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
        say_result("errno of mmap", -1);
    }
    send(pair[0], "still", 5, 0);
    say_read("read", pair[1]);
    close_pair(pair);
}

static void what_it_is(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    for (int i = 0; i < 2; i++) {
        struct stat status;
        struct statx extended;
        char path[64], target[64] = "";
        say_result("fstat", fstat(pair[i], &status));
        say("socket %d, mode %o, size %ld, links %ld, block %ld", S_ISSOCK(status.st_mode),
            status.st_mode, (long)status.st_size, (long)status.st_nlink, (long)status.st_blksize);
        say_result("fstatat", fstatat(pair[i], "", &status, AT_EMPTY_PATH));
        say("socket %d", S_ISSOCK(status.st_mode));
        say_result("statx", statx(pair[i], "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended));
        say("socket %d", S_ISSOCK(extended.stx_mode));
        say_result("isfdtype", isfdtype(pair[i], S_IFSOCK));
        say_result("isfdtype", isfdtype(pair[i], S_IFREG));
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", pair[i]);
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        say("link %.8s", length > 0 ? target : "none");
        say_result("open of it", open(path, O_RDWR));
        int type = 0;
        socklen_t size = sizeof(type);
        say_result("SO_TYPE", getsockopt(pair[i], SOL_SOCKET, SO_TYPE, &type, &size));
        say("stream %d", type == SOCK_STREAM);
        say("flags %x, descriptor %x", fcntl(pair[i], F_GETFL), fcntl(pair[i], F_GETFD));
    }
    close_pair(pair);
}

static void reserved_port(const struct case_context *context)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct case_context ipv4 = {.family = AF_INET};
    int fd = make_socket(&ipv4, 0);
    say_result("bindresvport", bindresvport(fd, &address));
    unsigned port = port_of(fd);
    say("reserved %d, told %d", port >= 512 && port < 1024, ntohs(address.sin_port) == port);
    say_result("again", bindresvport(fd, &address));
    say_result("listen", listen(fd, 1));
    int client = make_socket(&ipv4, 0);
    say_result("connect", connect_to(&ipv4, client, port));
    int accepted = accept(fd, NULL, NULL);
    say("accepted %d", accepted >= 0);
    close(client);
    close(accepted);
    close(fd);
    fd = make_socket(context, 0);
    address.sin_family = AF_UNIX;
    say_result("wrong family", bindresvport(fd, &address));
    close(fd);
}

static int echo_once(void *argument)
{
    char bytes[32];
    int fd = *(int *)argument;
    ssize_t got = read(fd, bytes, sizeof(bytes));
    if (got > 0)
        got = write(fd, bytes, (size_t)got);
    return (int)got;
}

static void cloned_child(const struct case_context *context)
{
    static char stack[256 << 10] __attribute__((aligned(64)));
    int pair[2];
    make_pair(context, pair);
    pid_t pid = clone(echo_once, stack + sizeof(stack), SIGCHLD, &pair[1]);
    say("cloned %d", pid > 0);
    send(pair[0], "by the child", 12, 0);
    say_read("echo", pair[0]);
    int status = 0;
    say("waited %d", waitpid(pid, &status, 0) == pid);
    say("status %d", WEXITSTATUS(status));
    send(pair[0], "by the parent", 13, 0);
    say_read("read", pair[1]);
    close_pair(pair);
}

static int exec_true(void *argument)
{
    close(*(int *)argument);
    execl("/bin/true", "true", NULL);
    return 1;
}

static void cloned_like_vfork(const struct case_context *context)
{
    static char stack[256 << 10] __attribute__((aligned(64)));
    int pair[2];
    make_pair(context, pair);
    pid_t pid = clone(exec_true, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, &pair[1]);
    int status = -1;
    say("waited %d", waitpid(pid, &status, 0) == pid);
    say("status %d", status);
    send(pair[0], "open here", 9, 0);
    say_read("read", pair[1]);
    close_pair(pair);
}

/* As inetd starts a program: the socket is its standard streams; then the program becomes a daemon,
   or has a terminal. */
static void begin_on_streams(const int pair[2])
{
    close(pair[0]);
    for (int fd = 0; fd <= 2; fd++)
        dup2(pair[1], fd);
    close(pair[1]);
}

static void end_on_streams(int fd, pid_t pid)
{
    char bytes[64];
    (void)wait_for(fd, POLLIN);
    ssize_t got = read_to_end(fd, bytes, sizeof(bytes));
    say_bytes("all that came", got, bytes);
    waitpid(pid, NULL, 0);
    close(fd);
}

static void daemon_leaves_streams(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    pid_t pid = fork();
    if (pid == 0) {
        begin_on_streams(pair);
        if (write(1, "before", 6) != 6 || daemon(0, 0) < 0)
            _exit(1);
        /* To /dev/null now. */
        _exit(write(1, "after", 5) != 5);
    }
    close(pair[1]);
    end_on_streams(pair[0], pid);
}

static void daemon_keeps_streams(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    pid_t pid = fork();
    if (pid == 0) {
        begin_on_streams(pair);
        if (write(1, "before", 6) != 6 || daemon(0, 1) < 0)
            _exit(1);
        _exit(write(1, "after", 5) != 5);
    }
    close(pair[1]);
    end_on_streams(pair[0], pid);
}

static void terminal_takes_streams(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    pid_t pid = fork();
    if (pid == 0) {
        int master;
        begin_on_streams(pair);
        pid_t child = forkpty(&master, NULL, NULL, NULL);
        if (child == 0)
            _exit(write(1, "to the terminal", 15) != 15);
        char bytes[32];
        ssize_t got = read(master, bytes, sizeof(bytes));
        if (got > 0)
            (void)!write(1, bytes, (size_t)got);
        waitpid(child, NULL, 0);
        _exit(0);
    }
    close(pair[1]);
    end_on_streams(pair[0], pid);
}

/* The path of a module beside this program. @return false: it isn't there, since sanitizers, with
   which this program is built, refuse RTLD_DEEPBIND. */
static bool own_neighbour(char *path, size_t bytes, const char *name)
{
    (void)readlink("/proc/self/exe", path, bytes - 1);
    char *own_name = strrchr(path, '/') + 1;
    (void)snprintf(own_name, bytes - (size_t)(own_name - path), "%s", name);
    return access(path, R_OK) == 0;
}

/* As PHP loads its extensions. */
static void use_deep_module(const char *name, int mode, const int pair[2])
{
    char path[4096] = "", bytes[16];
    void *module =
        own_neighbour(path, sizeof(path), name) ? dlopen(path, mode | RTLD_DEEPBIND) : NULL;
    say("%s is there: %d", name, module != NULL);
    if (module == NULL)
        return;
    ssize_t (*deep_send)(int, const char *);
    ssize_t (*deep_receive)(int, char *, size_t);
    int (*deep_finds_neighbour)(void);
    *(void **)(void *)&deep_send = dlsym(module, "deep_send");
    *(void **)(void *)&deep_receive = dlsym(module, "deep_receive");
    *(void **)(void *)&deep_finds_neighbour = dlsym(module, "deep_finds_neighbour");
    say_result("its send", deep_send(pair[0], "deeply"));
    say_bytes("its read", deep_receive(pair[1], bytes, sizeof(bytes)), bytes);
    say_result("send", send(pair[1], "back", 4, 0));
    say_bytes("its read", deep_receive(pair[0], bytes, sizeof(bytes)), bytes);
    say("finds its neighbour: %d", deep_finds_neighbour());
    dlclose(module);
}

static void deeply_bound_module(const struct case_context *context)
{
    int pair[2];
    make_pair(context, pair);
    use_deep_module("libpno-deep.so", RTLD_NOW, pair);
    use_deep_module("libpno-deep-lazy.so", RTLD_LAZY | RTLD_GLOBAL, pair);
    close_pair(pair);
}

static void *open_again_and_again(void *path)
{
    intptr_t opened = 0;
    for (int i = 0; i < 40; i++) {
        void *module = dlopen(path, RTLD_NOW | RTLD_DEEPBIND);
        ssize_t (*deep_send)(int, const char *);
        if (module == NULL)
            continue;
        *(void **)(void *)&deep_send = dlsym(module, "deep_send");
        opened += deep_send(-1, "x") == -1 && errno == EBADF;
        dlclose(module);
    }
    return (void *)opened;
}

static void deeply_bound_at_once(const struct case_context *context)
{
    char path[4096] = "";
    pthread_t threads[3];
    void *opened;
    intptr_t together = 0;
    close(make_socket(context, 0));
    if (!own_neighbour(path, sizeof(path), "libpno-deep.so"))
        return;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, open_again_and_again, path);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], &opened);
        together += (intptr_t)opened;
    }
    say("opened and used %d times", (int)together);
}

/* A DNS server over TCP: an answer is the question with the bit that says so. */
static void *answer_question(void *argument)
{
    unsigned char message[514];
    int listener = *(int *)argument, fd = accept(listener, NULL, NULL);
    ssize_t got = read(fd, message, sizeof(message));
    if (got > 4) {
        message[4] |= 0x80;
        (void)!write(fd, message, (size_t)got);
    }
    close(fd);
    return NULL;
}

/* A listener on loopback is found by what libc connects itself. */
static void resolver_over_stream(const struct case_context *context)
{
    struct __res_state state = {0};
    struct sockaddr_storage address;
    unsigned char question[512], answer[512];
    pthread_t server;
    int listener = make_listener(context, 1);
    socklen_t length = loopback(context, &address, port_of(listener));
    res_ninit(&state);
    state.options = (state.options & ~(unsigned long)RES_DEFNAMES) | RES_USEVC;
    state.nscount = 1;
    state.retry = 1;
    memset(&state.nsaddr_list[0], 0, sizeof(state.nsaddr_list[0]));
    if (context->family == AF_INET) {
        memcpy(&state.nsaddr_list[0], &address, sizeof(state.nsaddr_list[0]));
    } else {
        state._u._ext.nsaddrs[0] = malloc(sizeof(struct sockaddr_in6));
        memcpy(state._u._ext.nsaddrs[0], &address, length);
    }
    int size = res_nmkquery(&state, QUERY, "name.example", C_IN, T_A, NULL, 0, NULL, question,
                            sizeof(question));
    pthread_create(&server, NULL, answer_question, &listener);
    int got = res_nsend(&state, question, size, answer, sizeof(answer));
    say("answered %d, as asked %d", got == size, got > 2 && memcmp(question, answer, 2) == 0);
    if (got != size)
        shutdown(listener, SHUT_RDWR);
    pthread_join(server, NULL);
    res_nclose(&state);
    close(listener);
}

const struct socket_case cases_libc[] = {
    {"libc_deeply_bound_at_once", deeply_bound_at_once},
    {"libc_deeply_bound_module", deeply_bound_module},
    {"libc_other_spellings", other_spellings},
    {"libc_formatted_output", formatted_output},
    {"libc_stream_before_connect", stream_before_connect},
    {"libc_stream_buffers", stream_buffers},
    {"libc_not_for_sockets", not_for_sockets},
    {"libc_what_it_is", what_it_is},
    {"libc_reserved_port", reserved_port},
    {"libc_resolver_over_stream", resolver_over_stream},
    {"libc_cloned_child_shares", cloned_child},
    {"libc_cloned_like_vfork", cloned_like_vfork},
    {"libc_daemon_leaves_streams", daemon_leaves_streams},
    {"libc_daemon_keeps_streams", daemon_keeps_streams},
    {"libc_terminal_takes_streams", terminal_takes_streams},
    {NULL, NULL},
};
