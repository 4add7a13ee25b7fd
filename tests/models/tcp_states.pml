/*
 * Two ends of a TCP connection over a wire that loses, as RFC 9293 §3.10 has them: what their
 * states may do. Every change of state is checked against the table of the core itself
 * (table.h, printed by state_table from src/core/tcp/state.c); which of its arrows are taken is
 * printed, so that check_states.sh finds arrows that no run can take.
 *
 * Numbers are left out: a segment says whether it acknowledges the other end's SYN (ack) and FIN
 * (ack_fin). Segments are sent again without limit by whoever waits; patience ends (a timeout of
 * the connection) whenever the model likes. End 0 opens, end 1 listens or opens as well.
 */
#include "table.h"

c_decl {
    extern int printf(const char *format, ...);
    extern char *getenv(const char *name);
    extern int atoi(const char *text);
    static unsigned char arrow_seen[16][16];
}

#define ENDS 2
#define OTHER(i) (1 - (i))

/* One segment in flight each way; a second one is lost, as may the first. */
bool wire_full[ENDS];       /* towards this end */
bool wire_syn[ENDS], wire_ack[ENDS], wire_fin[ENDS], wire_rst[ENDS], wire_ack_fin[ENDS];

byte state[ENDS];
bool listening[ENDS];
bool fin_sent[ENDS];        /* this end's FIN was sent at least once */
bool fin_received[ENDS];    /* the other's FIN was taken */
bool closing[ENDS];         /* the program closed; the FIN waits for the handshake */
byte opens[ENDS];           /* how often the program may still open */

inline set_state(i, to)
{
    assert(legal[state[i] * 16 + to]);
    c_code {
        if (!arrow_seen[now.state[Pend_point->id]][Pend_point->next]) {
            arrow_seen[now.state[Pend_point->id]][Pend_point->next] = 1;
            printf("arrow %d %d\n", now.state[Pend_point->id], Pend_point->next);
        }
    };
    state[i] = to;
    if
    :: to == CLOSED -> fin_sent[i] = false; fin_received[i] = false; closing[i] = false;
    :: else
    fi;
}

/* Towards the other end: kept if nothing is in flight, and lost if the model likes. */
inline send(i, syn, ack, fin, rst)
{
    if
    :: !wire_full[OTHER(i)] ->
        wire_full[OTHER(i)] = true;
        wire_syn[OTHER(i)] = syn;
        wire_ack[OTHER(i)] = ack;
        wire_fin[OTHER(i)] = fin;
        wire_rst[OTHER(i)] = rst;
        wire_ack_fin[OTHER(i)] = fin_received[i];
    :: true /* lost */
    fi;
}

#define SYNCHRONIZED(s) (s != CLOSED && s != SYN_SENT && s != SYN_RECEIVED)

/* What an end with unacknowledged SYN or FIN sends, and sends again. */
inline transmit(i)
{
    if
    :: state[i] == SYN_SENT -> send(i, true, false, false, false)
    :: state[i] == SYN_RECEIVED -> send(i, true, true, false, false)
    :: state[i] == FIN_WAIT_1 || state[i] == CLOSING || state[i] == LAST_ACK ->
        fin_sent[i] = true;
        send(i, false, true, true, false)
    :: else -> send(i, false, true, false, false)
    fi;
}

/* §3.10.4: CLOSE. */
inline program_closes(i)
{
    if
    :: state[i] == SYN_SENT -> next = CLOSED; set_state(i, next)
    :: state[i] == SYN_RECEIVED -> closing[i] = true
    :: state[i] == ESTABLISHED -> next = FIN_WAIT_1; set_state(i, next); transmit(i)
    :: state[i] == CLOSE_WAIT -> next = LAST_ACK; set_state(i, next); transmit(i)
    :: else
    fi;
}

/* §3.10.7.4, eighth check. */
inline take_fin(i)
{
    fin_received[i] = true;
    if
    :: state[i] == ESTABLISHED -> next = CLOSE_WAIT; set_state(i, next)
    :: state[i] == FIN_WAIT_1 -> next = CLOSING; set_state(i, next)
    :: state[i] == FIN_WAIT_2 -> next = TIME_WAIT; set_state(i, next)
    :: else
    fi;
    send(i, false, true, false, false);
}

/* §3.10.7.4, fifth check, of a segment that acknowledges our FIN. */
inline take_ack_of_fin(i)
{
    if
    :: state[i] == FIN_WAIT_1 && !(fin && !fin_received[i]) ->
        next = FIN_WAIT_2; set_state(i, next)
    :: state[i] == FIN_WAIT_1 && fin && !fin_received[i] ->
        /* Its FIN is in the same segment. */
        fin_received[i] = true;
        next = TIME_WAIT; set_state(i, next);
        send(i, false, true, false, false)
    :: state[i] == CLOSING -> next = TIME_WAIT; set_state(i, next)
    :: state[i] == LAST_ACK -> next = CLOSED; set_state(i, next)
    :: else
    fi;
}

inline handshake_done(i)
{
    next = ESTABLISHED;
    set_state(i, next);
    if
    :: closing[i] -> closing[i] = false; next = FIN_WAIT_1; set_state(i, next); transmit(i)
    :: else
    fi;
}

proctype end_point(byte id)
{
    bool syn, ack, fin, rst, ack_fin;
    byte next;
end:
    do
    :: atomic { wire_full[id] ->
            wire_full[id] = false;
            syn = wire_syn[id]; ack = wire_ack[id]; fin = wire_fin[id]; rst = wire_rst[id];
            ack_fin = wire_ack_fin[id];
            if
            :: state[id] == CLOSED && listening[id] && syn && !ack && !rst ->
                next = SYN_RECEIVED; set_state(id, next); transmit(id)
            :: state[id] == CLOSED && !(listening[id] && syn && !ack) && !rst ->
                send(id, false, ack, false, true)
            :: state[id] == CLOSED && rst
            :: state[id] != CLOSED && rst -> next = CLOSED; set_state(id, next)
            :: state[id] == SYN_SENT && !rst && syn && ack ->
                handshake_done(id);
                send(id, false, true, false, false)
            :: state[id] == SYN_SENT && !rst && syn && !ack ->
                next = SYN_RECEIVED; set_state(id, next); transmit(id)
            :: state[id] == SYN_SENT && !rst && !syn -> send(id, false, false, false, true)
            :: state[id] == SYN_RECEIVED && !rst && ack ->
                handshake_done(id);
                if
                :: fin && !fin_received[id] -> take_fin(id)
                :: else
                fi
            :: state[id] == SYN_RECEIVED && !rst && !ack -> transmit(id)
            :: SYNCHRONIZED(state[id]) && !rst && syn ->
                send(id, false, true, false, false) /* RFC 5961 §4: challenged */
            :: SYNCHRONIZED(state[id]) && !rst && !syn ->
                if
                :: ack_fin && fin_sent[id] -> take_ack_of_fin(id)
                :: else
                fi;
                if
                :: fin && !fin_received[id] && state[id] != CLOSED -> take_fin(id)
                :: fin && fin_received[id] && state[id] != CLOSED ->
                    send(id, false, true, false, false)
                :: else
                fi
            fi
       }
    :: atomic { state[id] == CLOSED && opens[id] > 0 ->
            opens[id]--; next = SYN_SENT; set_state(id, next); transmit(id) }
    :: atomic { state[id] != CLOSED && state[id] != TIME_WAIT -> program_closes(id) }
    :: atomic { state[id] != CLOSED && state[id] != TIME_WAIT && !wire_full[OTHER(id)] ->
            transmit(id) }
       /* A timeout of the connection, an abort; TIME_WAIT's end. */
    :: atomic { state[id] != CLOSED ->
            if
            :: state[id] != TIME_WAIT -> send(id, false, true, false, true)
            :: true
            fi;
            next = CLOSED; set_state(id, next) }
    od
}

init
{
    atomic {
        fill_table();
        c_code { /* check_states.sh takes single arrows away */
            const char *missing = getenv("MISSING_ARROW");
            if (missing) now.legal[atoi(missing)] = 0;
        };
        state[0] = CLOSED;
        state[1] = CLOSED;
        opens[0] = 2;
        if
        :: listening[1] = true
        :: opens[1] = 1
        fi;
        run end_point(0);
        run end_point(1);
    }
}
