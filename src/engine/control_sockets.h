/**
 * @file control_sockets.h
 * The answer to {"command": "ss"}: every socket with what is known of it.
 */
#ifndef PNO_ENGINE_CONTROL_SOCKETS_H
#define PNO_ENGINE_CONTROL_SOCKETS_H

#include <jansson.h>

struct control;
struct process;

json_t *control_sockets_answer(struct control *control);

/** [{"program": …, "pid": …}, …] */
json_t *control_json_processes(struct process *const *processes, unsigned count);

#endif
