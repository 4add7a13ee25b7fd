/*
 * Who of a process's threads watches the engine's doorbell (src/hostlib/waiter.c), and what becomes
 * of operations for which the ring has no room (src/hostlib/engine_link.c).
 *
 * Each thread makes CALLS calls: it pushes a request, and waits until its answer was taken from the
 * ring, by whichever thread. Of those that sleep one, the leader, has armed the engine's flags and
 * looks at the doorbell; the others sleep on eventfds. The first thread may be interrupted, when
 * about to sleep or asleep, by a handler that takes events, and that may last until all the others
 * have finished. A request that finds the ring full waits in the overflow, until any thread finds
 * room for it; it may be pushed by another than who made it. The second thread first pushes something
 * that is not answered, so that room may come without an answer; the third asks for nothing, and
 * waits for an event that comes with the second's answer.
 *
 * The engine never sleeps here: that side, weak memory, and how a look and a store may interleave
 * are wakeup.pml's. Here each of a thread's actions is one step: to push, to take events, to arm and
 * look again, to be woken, to end.
 *
 * A lost wake-up is a state in which nobody can go on, though answers are awaited. Definitions take
 * single parts away; check_wakeup.sh makes sure that spin then finds fault:
 *   NO_HANDOVER         who ends its wait as the leader wakes no other to lead
 *   NO_HANDOVER_WOKEN   ... nor does who was woken to lead, and ended its wait instead
 *   NO_HANDOVER_HANDLER a handler keeps the lead of the call that it interrupts
 *   TO_SUSPENDED        one whose thread is in a handler may be woken to lead
 *   LEADS_AGAIN         after a handler the lead is resumed though others have had it since
 *   NO_WAKE_LED         after a handler that cost the lead the call sleeps on, and does not look
 *   NO_WAKE_LEADERLESS  after a handler the call sleeps on, though who led has gone meanwhile
 *   NO_SECOND_LOOK      who leads arms, and does not look at the ring again
 *   NO_DEFER_FLAG       who finds the ring full does not flag that room is awaited
 *   NO_ARM_ROOM         who leads does not flag it again, having armed anew
 *   NO_ARM_PUSH         ... or does not look for room once more, having flagged it
 *   NO_ROOM_WAKE        the engine makes room and does not look at the flag
 */

#ifndef THREADS
#define THREADS 3
#endif
#ifndef CALLS
#define CALLS 1
#endif
#define NOBODY  THREADS
#define NOTE    THREADS
#define SLOTS   1

chan to_engine = [SLOTS] of { byte };
chan overflow = [THREADS + 1] of { byte };
chan to_host = [THREADS] of { byte };
bit armed, armed_for_room, doorbell;

byte leader = NOBODY;
byte leads_begun;
byte finished;
bit waits[THREADS], suspended[THREADS], woken[THREADS], answered[THREADS];
bit handled;

/* The engine serves one request after another: room first, then the answer. */
active proctype engine()
{
    byte who;
end:
    do
    :: atomic {
        to_engine?who;
#ifndef NO_ROOM_WAKE
        if
        :: armed_for_room -> armed = 0; armed_for_room = 0; doorbell = 1
        :: else
        fi
#endif
       };
       atomic {
        if
        :: who != NOTE -> to_host!who
        :: else
        fi;
        if
        :: who == 1 -> to_host!2 /* what the third thread waits for */
        :: else
        fi;
        if
        :: armed && who != NOTE -> armed = 0; armed_for_room = 0; doorbell = 1
        :: else
        fi;
        who = 0
       }
    od
}

inline push_overflow()
{
    do
    :: nempty(overflow) && nfull(to_engine) -> overflow?other; to_engine!other
    :: empty(overflow) || full(to_engine) -> break
    od;
    other = 0
}

inline push(what)
{
    atomic {
        if
        :: empty(overflow) && nfull(to_engine) -> to_engine!what
        :: nempty(overflow) || full(to_engine) ->
            overflow!what;
#ifndef NO_DEFER_FLAG
            armed_for_room = 1
#endif
        fi
    }
}

/* Take what is there, and wake whom it is for, unless that is who takes it. Then what waits for room. */
inline poll_link(self)
{
    atomic {
        do
        :: nempty(to_host) ->
            to_host?other;
            answered[other] = 1;
            if
            :: other != self && waits[other] -> woken[other] = 1
            :: else
            fi
        :: empty(to_host) -> break
        od;
        push_overflow()
    }
}

/* Any of those that wait: in which order they are listed shall not matter. */
inline wake_next_leader()
{
#ifdef TO_SUSPENDED
#define MAY_LEAD(i) (waits[i])
#else
#define MAY_LEAD(i) (waits[i] && !suspended[i])
#endif
    if
    :: MAY_LEAD(0) -> woken[0] = 1
    :: MAY_LEAD(1) -> woken[1] = 1
#if THREADS > 2
    :: MAY_LEAD(2) -> woken[2] = 1
#endif
    :: else
    fi
}

inline end_wait()
{
    atomic {
        waits[me] = 0;
        if
        :: leader == me ->
            leader = NOBODY;
#ifndef NO_HANDOVER
            wake_next_leader()
#endif
        :: leader == NOBODY ->
#ifndef NO_HANDOVER_WOKEN
            wake_next_leader()
#endif
        :: else
        fi;
        woken[me] = 0;
        answered[me] = 0;
        is_leader = 0
    }
}

/* A signal's handler, at most once: it takes events, as reads in it would, and may be long. */
inline interrupt()
{
    atomic {
        handled = 1;
        suspended[me] = 1;
        if
#ifndef NO_HANDOVER_HANDLER
        :: leader == me ->
            leader = NOBODY;
            led_as = leads_begun;
            wake_next_leader()
#endif
        :: else
        fi
    };
    poll_link(NOBODY);
    if
    :: true
    :: true -> finished == THREADS - 1
    fi;
    atomic {
        suspended[me] = 0;
        if
#ifdef LEADS_AGAIN
        :: is_leader && leader == NOBODY -> leader = me
#else
        :: is_leader && leader == NOBODY && leads_begun == led_as -> leader = me
#endif
#ifdef NO_HANDOVER_HANDLER
        :: is_leader && leader == me
#endif
        :: else ->
            if
#ifndef NO_WAKE_LED
            :: is_leader -> woken[me] = 1
#endif
#ifndef NO_WAKE_LEADERLESS
            :: !is_leader && leader == NOBODY -> woken[me] = 1
#endif
            :: else
            fi;
            is_leader = 0
        fi;
        led_as = 0
    }
}

/* Whether to sleep: leading if nobody does, and then only with the flags up and nothing there. */
inline lead_and_arm()
{
    atomic {
        worked = 0;
        if
        :: leader == NOBODY -> leader = me; leads_begun++
        :: else
        fi;
        is_leader = (leader == me);
        if
        :: is_leader ->
            armed = 1;
            armed_for_room = 0;
            if
            :: nempty(overflow) ->
#ifndef NO_ARM_ROOM
                armed_for_room = 1;
#endif
#ifndef NO_ARM_PUSH
                push_overflow()
#endif
            :: empty(overflow)
            fi;
#ifndef NO_SECOND_LOOK
            worked = nempty(to_host);
            if
            :: worked -> armed = 0; armed_for_room = 0
            :: else
            fi
#endif
        :: else
        fi;
        leads = is_leader
    }
}

inline sleep_once()
{
    lead_and_arm();
    if
    :: !worked ->
        if
        :: me == 0 && !handled -> interrupt()
        :: true
        fi;
        /* ppoll() */
        if
        :: atomic { leads && doorbell -> rung = 1 }
        :: woken[me]
        :: me == 0 && !handled -> interrupt()
        fi;
        atomic {
            if
            :: leads && is_leader ->
                armed = 0;
                armed_for_room = 0;
                doorbell = doorbell && !rung
            :: else
            fi;
            woken[me] = 0;
            leads = 0;
            rung = 0
        }
    :: else
    fi;
    worked = 0
}

proctype thread(byte me)
{
    byte other, calls, led_as;
    bit is_leader, leads, rung, worked;
    do
    :: calls == CALLS -> break
    :: else ->
        if
        :: me == 1 -> push(NOTE)
        :: else
        fi;
        if
        :: me != 2 -> push(me)
        :: else
        fi;
        waits[me] = 1;
        do
        :: poll_link(me);
            if
            :: answered[me] -> break
            :: else -> sleep_once()
            fi
        od;
        end_wait();
        calls++
    od;
    finished++
}

init
{
    atomic {
        run thread(0);
        run thread(1);
#if THREADS > 2
        run thread(2)
#endif
    }
}
