/**
 * @file uring_abi.h
 * The kernel's io_uring interface, with what the oldest header that we build with lacks.
 * Source: Linux 6.18, include/uapi/linux/io_uring.h.
 */
#ifndef PNO_HOSTLIB_URING_ABI_H
#define PNO_HOSTLIB_URING_ABI_H

#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>

#ifndef IORING_SETUP_NO_MMAP
#define IORING_SETUP_NO_MMAP            (1U << 14)
#define IORING_SETUP_REGISTERED_FD_ONLY (1U << 15)
#define IORING_SETUP_NO_SQARRAY         (1U << 16)
#endif
#define URING_SETUP_CQE_MIXED  (1U << 18)
#define URING_SETUP_SQE_MIXED  (1U << 19)
#define URING_SETUP_SQ_REWIND  (1U << 20)
#define URING_ENTER_ABS_TIMER  (1U << 5)
#define URING_ENTER_ARG_REG    (1U << 6)
#define URING_ENTER_NO_IOWAIT  (1U << 7)
#define URING_POLL_FIRST       (1U << 0)
#define URING_RECV_MULTISHOT   (1U << 1)
#define URING_REPORT_USAGE     (1U << 3)
#define URING_BUNDLE           (1U << 4)
#define URING_SEND_VECTORIZED  (1U << 5)
#define URING_ACCEPT_DONTWAIT  (1U << 1)
#define URING_CANCEL_USERDATA  (1U << 4)
#define URING_CANCEL_OP        (1U << 5)
#define URING_POLL_ADD_LEVEL   (1U << 3)
#define URING_MSG_FLAGS_PASS   (1U << 1)
#define URING_PBUF_MMAP        1U
#define URING_PBUF_INC         2U
#define URING_OFF_PBUF_RING    0x80000000ULL
#define URING_OFF_PBUF_SHIFT   16
#define URING_RECVSEND_VALID   0x1fU
#define URING_USE_REGISTERED   (1U << 31)
#define URING_SPLICE_FD_FIXED  (1U << 31)
#define URING_RING_FDS_MAX     16
#define URING_CQE_F_BUF_MORE   (1U << 4)
#define URING_CQE_BUFFER_SHIFT 16

enum uring_register_later {
    URING_REGISTER_PBUF_STATUS = 26,
    URING_REGISTER_RESIZE_RINGS = 33,
};

enum uring_opcode_later {
    URING_OP_READ_MULTISHOT = 49,
    URING_OP_FIXED_FD_INSTALL = 54,
    URING_OP_BIND = 56,
    URING_OP_LISTEN = 57,
    URING_OP_RECV_ZC = 58,
    URING_OP_EPOLL_WAIT = 59,
    URING_OP_READV_FIXED = 60,
    URING_OP_WRITEV_FIXED = 61,
};

/* sqe->cmd_op of IORING_OP_URING_CMD on a socket. */
enum uring_socket_command {
    URING_SOCKET_SIOCINQ,
    URING_SOCKET_SIOCOUTQ,
    URING_SOCKET_GETSOCKOPT,
    URING_SOCKET_SETSOCKOPT,
    URING_SOCKET_TX_TIMESTAMP,
    URING_SOCKET_GETSOCKNAME,
};

struct uring_buf_status {
    uint32_t buf_group;
    uint32_t head;
    uint32_t resv[8];
};

/* ... of which the older header has no names. */
static inline uint32_t uring_sqe_level(const struct io_uring_sqe *sqe)
{
    return (uint32_t)sqe->addr;
}

static inline uint32_t uring_sqe_option(const struct io_uring_sqe *sqe)
{
    return (uint32_t)(sqe->addr >> 32);
}

#endif
