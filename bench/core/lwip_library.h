/**
 * @file lwip_library.h
 * lwIP as Debian packages it, loaded twice: its state is global, so that each end needs a library
 * of its own. Its raw API is used from one thread and its tcpip thread never started, which is how
 * the packaged build (NO_SYS 0, core locking) costs least.
 */
#ifndef PNO_BENCH_CORE_LWIP_LIBRARY_H
#define PNO_BENCH_CORE_LWIP_LIBRARY_H

#include <stdbool.h>

#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"
#include "netif/ethernet.h"

/** What is used of it, functions and variables. */
struct lwip_library {
    __typeof__(lwip_init) *lwip_init;
    __typeof__(netif_add) *netif_add;
    __typeof__(netif_set_default) *netif_set_default;
    __typeof__(netif_set_up) *netif_set_up;
    __typeof__(netif_set_link_up) *netif_set_link_up;
    __typeof__(etharp_output) *etharp_output;
    __typeof__(ethernet_input) *ethernet_input;
    __typeof__(pbuf_alloc) *pbuf_alloc;
    __typeof__(pbuf_free) *pbuf_free;
    __typeof__(tcp_new) *tcp_new;
    __typeof__(tcp_arg) *tcp_arg;
    __typeof__(tcp_bind) *tcp_bind;
    __typeof__(tcp_listen_with_backlog) *tcp_listen_with_backlog;
    __typeof__(tcp_accept) *tcp_accept;
    __typeof__(tcp_connect) *tcp_connect;
    __typeof__(tcp_recv) *tcp_recv;
    __typeof__(tcp_sent) *tcp_sent;
    __typeof__(tcp_err) *tcp_err;
    __typeof__(tcp_write) *tcp_write;
    __typeof__(tcp_output) *tcp_output;
    __typeof__(tcp_recved) *tcp_recved;
    __typeof__(tcp_close) *tcp_close;
    __typeof__(tcp_tmr) *tcp_tmr;
    struct tcp_pcb **tcp_active_pcbs;
};

/** Load it `count` times. @return false, having said why on standard error. */
bool lwip_library_load(struct lwip_library *libraries, unsigned count);

#endif
