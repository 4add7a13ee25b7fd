/* In place of cases_uring.c and cases_rings.c where liburing's header is missing. */
#include "case.h"

static void uring_skipped(const struct case_context *context)
{
    (void)context;
    say("skipped: liburing-dev is not installed");
}

const struct socket_case cases_uring[] = {
    {"uring_skipped", uring_skipped},
    {NULL, NULL},
};

const struct socket_case cases_rings[] = {
    {NULL, NULL},
};
