/**
 * @file cli.h
 * What the subcommands of `pno` share: the table of commands, one-line errors, option parsing.
 * Not a place for anything that a single command needs.
 *
 * Every error is one line on standard error that says what went wrong and what to do.
 */
#ifndef PNO_CLI_CLI_H
#define PNO_CLI_CLI_H

#include <argp.h>

/** Exit statuses; those of `run` and `lab exec` follow env(1). */
enum cli_exit {
    CLI_EXIT_FAILURE = 1,
    CLI_EXIT_USAGE = 2,
    CLI_EXIT_CANNOT_EXECUTE = 126,
    CLI_EXIT_NOT_FOUND = 127,
};

/** A subcommand: gets its own argv, argv[0] being "pno NAME"; returns the exit status. */
typedef int cli_command_fn(int argc, char **argv);

cli_command_fn command_run;
cli_command_fn command_lab;
cli_command_fn command_ss;
cli_command_fn command_stats;
cli_command_fn command_top;
cli_command_fn command_capture;

/** Print "pno COMMAND: message" as one line on standard error. */
__attribute__((format(printf, 2, 3))) void cli_error(const char *command, const char *format, ...);

/** As cli_error(), pointing to --help, and exit with CLI_EXIT_USAGE. */
__attribute__((noreturn, format(printf, 2, 3))) void cli_usage_error(const char *command,
                                                                     const char *format, ...);

/** Parse with argp, stopping at the first argument that is no option; exits on a usage error. */
void cli_parse(const struct argp *argp, int argc, char **argv, void *input);

/** For the keys that a parser of cli_parse() does not handle. */
error_t cli_parse_default(int key, struct argp_state *state);

/** Replace this process by argv, found along PATH; returns an exit status if it can't. */
int cli_exec(const char *command, char **argv);

#endif
