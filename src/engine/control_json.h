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

/** An {"error": …} as such a line. */
char *control_json_error(const char *what);

/** If the request is to capture: its filter, to be freed, "" being none. Else NULL. */
char *control_json_capture_filter(const char *request, size_t bytes);

#endif
