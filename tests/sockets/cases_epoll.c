#include "case.h"

const struct socket_case cases_epoll[] = {{0}};
