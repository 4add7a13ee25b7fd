#include "case.h"

const struct socket_case cases_threads[] = {{0}};
