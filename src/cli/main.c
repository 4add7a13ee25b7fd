#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMAND_NAME_MAX 32

static const struct command {
    const char *name;
    cli_command_fn *run;
    const char *summary;
} commands[] = {
    {"run", command_run, "run a program with its TCP served by pnod"},
    {"lab", command_lab, "a host, an engine and a client in network namespaces"},
    {"ss", command_ss, "list pnod's sockets, like ss -ti"},
    {"stats", command_stats, "show pnod's counters, per core and per drop reason"},
    {"top", command_top, "watch cores, tenants and connections live"},
    {"capture", command_capture, "record the segments that pnod receives and sends"},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *stream)
{
    fputs("Usage: pno COMMAND [OPTION]... [ARGUMENT]...\n"
          "Take TCP off this machine's CPUs without touching its programs.\n\n",
          stream);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(stream, "  %-9s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\nEach command has --help. The engine itself is 'pnod'.\n", stream);
}

static void print_line(const char *command, const char *format, va_list arguments,
                       const char *suffix)
{
    char line[1024];
    vsnprintf(line, sizeof(line), format, arguments);
    for (char *c = line; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\r') {
            *c = ' ';
        }
    }
    fprintf(stderr, "%s: %s%s\n", command, line, suffix);
}

void cli_error(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(command, format, arguments, "");
    va_end(arguments);
}

void cli_usage_error(const char *command, const char *format, ...)
{
    char suffix[COMMAND_NAME_MAX + 32];
    snprintf(suffix, sizeof(suffix), " (see '%.*s --help')", COMMAND_NAME_MAX, command);
    va_list arguments;
    va_start(arguments, format);
    print_line(command, format, arguments, suffix);
    va_end(arguments);
    exit(CLI_EXIT_USAGE);
}

error_t cli_parse_default(int key, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_ARG:
        cli_usage_error(state->argv[0], "unexpected argument '%s'", state->argv[state->next - 1]);
    case ARGP_KEY_ERROR:
        cli_usage_error(state->argv[0], "option '%s' is unknown, or lacks its value",
                        state->argv[state->next > 0 ? state->next - 1 : 0]);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

enum { OPTION_HELP = 2000 };

/* argp's own --help falls silent with ARGP_NO_ERRS. */
static error_t parse_help(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    if (key != OPTION_HELP) {
        return ARGP_ERR_UNKNOWN;
    }
    argp_help(state->root_argp, stdout, ARGP_HELP_LONG | ARGP_HELP_USAGE | ARGP_HELP_DOC,
              state->argv[0]);
    exit(EXIT_SUCCESS);
}

void cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    static const struct argp_option help_options[] = {
        {"help", OPTION_HELP, NULL, 0, "this help", -1},
        {0},
    };
    static const struct argp help = {.options = help_options, .parser = parse_help};
    const struct argp_child children[] = {{.argp = &help, .group = -1}, {0}};
    struct argp with_help = *argp;
    with_help.children = children;
    /* ARGP_NO_ERRS: argp's own messages take two lines. */
    error_t error = argp_parse(&with_help, argc, argv, ARGP_IN_ORDER | ARGP_NO_ERRS | ARGP_NO_HELP,
                               NULL, input);
    if (error != 0) {
        cli_usage_error(argv[0], "the command line is not understood: %s", strerror(error));
    }
}

int cli_exec(const char *command, char **argv)
{
    execvp(argv[0], argv);
    int error = errno;
    cli_error(command, "cannot run '%s': %s", argv[0],
              error == ENOENT ? "no such program, check its name and PATH" : strerror(error));
    return error == ENOENT ? CLI_EXIT_NOT_FOUND : CLI_EXIT_CANNOT_EXECUTE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        cli_usage_error("pno", "which command?");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 ||
        strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("pno " PNO_VERSION);
        return 0;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            char name[COMMAND_NAME_MAX];
            snprintf(name, sizeof(name), "pno %s", commands[i].name);
            argv[1] = name;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    cli_usage_error("pno", "there is no command '%s'", argv[1]);
}
