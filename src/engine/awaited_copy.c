#include "engine/awaited_copy.h"

#include <errno.h>
#include <stdbool.h>

#include "engine/engine_core.h"
#include "engine/socket.h"

struct awaited_copy {
    bool done;
    int error;
};

static void copy_done(void *context, int error)
{
    struct awaited_copy *copy = context;
    copy->done = true;
    copy->error = error;
}

/** @param result  of submitting it. */
static int await(struct engine_core *core, const struct awaited_copy *copy, int result)
{
    while (result == 0 && !copy->done)
        (void)core->engine->dma->poll(core->dma);
    return result == 0 ? copy->error : result;
}

int awaited_copy_write(const struct engine_socket *socket, uint64_t arena_offset, const void *from,
                       uint32_t bytes)
{
    struct engine_core *core = socket_core(socket);
    const struct dma_backend *dma = core->engine->dma;
    struct awaited_copy copy = {.done = false};
    int result;
    while ((result = dma->write(core->dma, &socket->tenant->tenant->arena, arena_offset, from,
                                bytes, copy_done, &copy)) == -EAGAIN)
        (void)dma->poll(core->dma);
    return await(core, &copy, result);
}

int awaited_copy_read(const struct engine_socket *socket, uint64_t arena_offset, void *to,
                      uint32_t bytes)
{
    struct engine_core *core = socket_core(socket);
    const struct dma_backend *dma = core->engine->dma;
    struct awaited_copy copy = {.done = false};
    int result;
    while ((result = dma->read(core->dma, &socket->tenant->tenant->arena, arena_offset, to, bytes,
                               copy_done, &copy)) == -EAGAIN)
        (void)dma->poll(core->dma);
    return await(core, &copy, result);
}
