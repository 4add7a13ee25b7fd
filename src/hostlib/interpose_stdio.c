/* stdio on sockets: libc's streams read and write by libc's own calls, which nobody can intercept,
   so they are given streams that call ours. */
#include <stdarg.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostlib/interpose.h"
#include "hostlib/process.h"

/* As libc's for a socket: st_blksize. */
#define STREAM_BUFFER_BYTES 4096

struct stream {
    int fd;
    char buffer[STREAM_BUFFER_BYTES];
};

static ssize_t stream_read(void *cookie, char *buffer, size_t count)
{
    return read(((const struct stream *)cookie)->fd, buffer, count);
}

static ssize_t stream_write(void *cookie, const char *buffer, size_t count)
{
    ssize_t written = write(((const struct stream *)cookie)->fd, buffer, count);
    return written < 0 ? 0 : written;
}

/* libc does not look at the buffer any more. */
static int stream_close(void *cookie)
{
    int result = close(((const struct stream *)cookie)->fd);
    int saved_errno = errno;
    free(cookie);
    errno = saved_errno;
    return result;
}

static FILE *stream_open(int fd, const char *mode)
{
    cookie_io_functions_t functions = {
        .read = stream_read, .write = stream_write, .close = stream_close};
    struct stream *stream = malloc(sizeof(*stream));
    if (stream == NULL)
        return NULL;
    stream->fd = fd;
    FILE *file = fopencookie(stream, mode, functions);
    if (file == NULL) {
        free(stream);
        return NULL;
    }
    file->_fileno = fd; /* so that fileno() answers */
    (void)setvbuf(file, stream->buffer, _IOFBF, sizeof(stream->buffer));
    return file;
}

/* Also of a socket that only may become the engine's. */
PNO_EXPORT FILE *fdopen(int fd, const char *mode)
{
    struct socket *socket = interpose_socket(fd);
    if (socket == NULL)
        return REAL(fdopen)(fd, mode);
    file_put(&socket->file);
    return stream_open(fd, mode);
}

PNO_EXPORT FILE *_IO_fdopen(int fd, const char *mode)
{
    return fdopen(fd, mode);
}

void interpose_standard_stream(int fd)
{
    static bool replaced[STDERR_FILENO + 1];
    FILE **const places[] = {&stdin, &stdout, &stderr};
    if (fd > STDERR_FILENO || replaced[fd])
        return;
    FILE **place = places[fd];
    if (process_may_not_allocate || *place == NULL)
        return;
    FILE *stream = stream_open(fd, fd == STDIN_FILENO ? "r" : "w");
    if (stream == NULL)
        return;
    if (fd == STDERR_FILENO)
        (void)setvbuf(stream, NULL, _IONBF, 0);
    /* What waits to be written goes wherever the number leads by then. */
    (void)fwrite((*place)->_IO_write_base, 1, __fpending(*place), stream);
    __fpurge(*place);
    *place = stream;
    replaced[fd] = true;
}

/* ---- dprintf() ------------------------------------------------------------------------------ */

/* By an unbuffered stream, as libc does, so that what a failing write leaves is told alike.
   @param flag  of the fortified calls: %n only in memory that can't be written; -1: not fortified.
 */
static int print(int fd, int flag, const char *format, va_list arguments)
{
    char *text = NULL;
    int length = flag < 0 ? vasprintf(&text, format, arguments)
                          : __vasprintf_chk(&text, flag, format, arguments);
    if (length < 0)
        return -1;
    int done = 0;
    while (done < length) {
        ssize_t written = write(fd, text + done, (size_t)(length - done));
        if (written < 0)
            break;
        done += (int)written;
    }
    int saved_errno = errno;
    free(text);
    errno = saved_errno;
    return done == length ? length : -1;
}

static bool is_offloaded(int fd)
{
    struct socket *socket = interpose_offloaded(fd);
    if (socket == NULL)
        return false;
    file_put(&socket->file);
    return true;
}

PNO_EXPORT int vdprintf(int fd, const char *format, va_list arguments)
{
    return is_offloaded(fd) ? print(fd, -1, format, arguments)
                            : REAL(vdprintf)(fd, format, arguments);
}

PNO_EXPORT int __vdprintf_chk(int fd, int flag, const char *format, va_list arguments)
{
    return is_offloaded(fd) ? print(fd, flag, format, arguments)
                            : REAL(__vdprintf_chk)(fd, flag, format, arguments);
}

PNO_EXPORT int dprintf(int fd, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int result = vdprintf(fd, format, arguments);
    va_end(arguments);
    return result;
}

PNO_EXPORT int __dprintf_chk(int fd, int flag, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int result = __vdprintf_chk(fd, flag, format, arguments);
    va_end(arguments);
    return result;
}
