#include "case.h"

const struct socket_case cases_waiting[] = {{0}};
