#include "control_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX  ((size_t)1 << 30)
#define ANSWER_TIMEOUT_S  10
#define ANSWER_CHUNK_SIZE ((size_t)64 << 10)

static int open_connection(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(socket_path) >= sizeof(address.sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int control_client_probe(const char *socket_path)
{
    int fd = open_connection(socket_path);
    if (fd < 0) {
        return -fd;
    }
    close(fd);
    return 0;
}

static void explain_connect(char message[CONTROL_CLIENT_MESSAGE_MAX], const char *socket_path,
                            int error)
{
    const char *advice = "start pnod, or name its socket by --socket or PNO_SOCKET";
    if (error == EACCES || error == EPERM) {
        advice = "run this as root";
    }
    snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "no pnod answers at %s (%s): %s", socket_path,
             strerror(error), advice);
}

int control_client_open(const char *socket_path, json_t *request,
                        char message[CONTROL_CLIENT_MESSAGE_MAX])
{
    int fd = open_connection(socket_path);
    if (fd < 0) {
        explain_connect(message, socket_path, -fd);
        return fd;
    }
    char *text = json_dumps(request, JSON_COMPACT);
    int error = ENOMEM;
    if (text != NULL) {
        size_t length = strlen(text);
        text[length] = '\n'; /* in the NUL's place: the engine reads a line */
        error = send(fd, text, length + 1, MSG_NOSIGNAL) == (ssize_t)length + 1 ? 0 : errno;
        free(text);
    }
    if (error != 0) {
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "cannot ask pnod at %s: %s", socket_path,
                 strerror(error));
        close(fd);
        return -error;
    }
    return fd;
}

/* Everything up to the end of the stream, to be freed; NULL with errno set. */
static char *read_all(int fd, size_t *length)
{
    char *text = NULL;
    size_t room = 0;
    *length = 0;
    for (;;) {
        if (room - *length < ANSWER_CHUNK_SIZE) {
            room = room * 2 + ANSWER_CHUNK_SIZE;
            char *larger = room <= ANSWER_BYTES_MAX ? realloc(text, room) : NULL;
            if (larger == NULL) {
                free(text);
                errno = ENOMEM;
                return NULL;
            }
            text = larger;
        }
        ssize_t got = read(fd, text + *length, room - *length);
        if (got == 0) {
            return text;
        }
        if (got < 0 && errno != EINTR) {
            int error = errno == EAGAIN ? ETIMEDOUT : errno;
            free(text);
            errno = error;
            return NULL;
        }
        *length += got > 0 ? (size_t)got : 0;
    }
}

json_t *control_client_request(const char *socket_path, const char *command,
                               char message[CONTROL_CLIENT_MESSAGE_MAX])
{
    json_t *request = json_pack("{s:s}", "command", command);
    snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "out of memory");
    int fd = request != NULL ? control_client_open(socket_path, request, message) : -ENOMEM;
    json_decref(request);
    if (fd < 0) {
        return NULL;
    }
    size_t length;
    char *text = read_all(fd, &length);
    int read_error = errno;
    close(fd);
    if (text == NULL) {
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX,
                 "pnod at %s does not answer (%s): see its log", socket_path, strerror(read_error));
        return NULL;
    }
    json_error_t error;
    json_t *answer = json_loadb(text, length, 0, &error);
    free(text);
    if (!json_is_object(answer)) {
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX,
                 "pnod at %s answered '%s' with no JSON object: is it another version?",
                 socket_path, command);
        json_decref(answer);
        return NULL;
    }
    const char *refusal = json_string_value(json_object_get(answer, "error"));
    if (refusal != NULL) {
        snprintf(message, CONTROL_CLIENT_MESSAGE_MAX, "pnod refuses: %s", refusal);
        json_decref(answer);
        return NULL;
    }
    return answer;
}
