#include "case.h"

const struct socket_case cases_files[] = {{0}};
