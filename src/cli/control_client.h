/**
 * @file control_client.h
 * The operator's side of pnod's control socket: one JSON request, one JSON answer
 * (docs/control_socket.md). Knows nothing about what the requests mean.
 */
#ifndef PNO_CLI_CONTROL_CLIENT_H
#define PNO_CLI_CONTROL_CLIENT_H

#include <jansson.h>

#define CONTROL_CLIENT_MESSAGE_MAX 512

/** Is somebody listening there? 0, or the errno of the attempt. */
int control_client_probe(const char *socket_path);

/**
 * Ask pnod.
 *
 * @param command  the request's "command".
 * @param message  in case of failure: what went wrong and what to do, one line.
 * @return         the answer, an object without "error", to be released by the caller; or NULL.
 */
json_t *control_client_request(const char *socket_path, const char *command,
                               char message[CONTROL_CLIENT_MESSAGE_MAX]);

/**
 * Open a connection and send a request whose answer is a stream.
 *
 * @return  a connected descriptor, or a negative errno with `message` set.
 */
int control_client_open(const char *socket_path, json_t *request,
                        char message[CONTROL_CLIENT_MESSAGE_MAX]);

#endif
