#include "engine/port_right.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define KEY_BYTES 16

static int open_key(const char *socket_path, int flags)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "%s.key", socket_path);
    return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

int port_right_load_key(struct siphash_key *key, const char *socket_path)
{
    uint8_t bytes[KEY_BYTES];
    int fd = open_key(socket_path, O_RDONLY);
    bool read_it = fd >= 0 && read(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes);
    if (fd >= 0)
        (void)close(fd);
    int result = 0;
    if (!read_it) {
        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
            return -EIO;
        fd = open_key(socket_path, O_WRONLY | O_CREAT | O_TRUNC);
        if (fd < 0 || write(fd, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes))
            result = -errno;
        if (fd >= 0)
            (void)close(fd);
    }
    *key = siphash_key_load(bytes);
    return result;
}

static uint64_t seal(const struct siphash_key *key, uint64_t number)
{
    return siphash_2_4(key, &number, sizeof(number));
}

void port_right_make(const struct siphash_key *key, uint64_t token[2])
{
    token[0] = token[1] = 0;
    if (getrandom(&token[0], sizeof(token[0]), 0) == (ssize_t)sizeof(token[0]))
        token[1] = seal(key, token[0]);
}

bool port_right_is_good(const struct siphash_key *key, const uint64_t token[2])
{
    return token[0] != 0 && token[1] == seal(key, token[0]);
}
