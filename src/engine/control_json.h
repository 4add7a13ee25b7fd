/**
 * @file control_json.h
 * Operators' requests and their answers; see docs/control_socket.md.
 */
#ifndef PNO_ENGINE_CONTROL_JSON_H
#define PNO_ENGINE_CONTROL_JSON_H

#include <stddef.h>

struct control;

/** Answer one request. @return the answer as text with a newline, to be freed; NULL: no memory. */
char *control_json_answer(struct control *control, const char *request, size_t bytes);

#endif
