/*
 * Sleeping and waking over the link (src/hostlink/ring.h), with weak memory made explicit.
 *
 * Two endpoints, host and engine, each send MESSAGES descriptors to the other through a ring of
 * SLOTS. An endpoint with nothing to do arms its flag and sleeps on its doorbell until it is rung;
 * it may sleep for descriptors, and for room as well when its ring is full. Whether it pushes and
 * pops one at a time or in bursts is left open, so all ways are tried.
 *
 * Every plain store goes through a store buffer of its endpoint, from which it reaches memory at
 * any later time: in any order among different places, except that a release store waits for all
 * stores before it. (Weaker than x86, as on a DPU's ARM cores.) A load sees its own buffer first.
 * A fence waits until the buffer is empty. An exchange works on memory at once.
 *
 * A lost wake-up is a state in which nobody can go on though messages are left: spin reports it as
 * an invalid end state. Definitions take single parts of the protocol away; check_wakeup.sh makes
 * sure that spin then finds fault, so the model can tell right from wrong:
 *   NO_FENCE_ARM   no fence between arming and looking once more
 *   NO_FENCE_TAKE  no fence between pushing (or reporting credit) and looking at the flag
 *   NO_RECHECK     no second look before sleeping
 *   NO_ROOM_WAKE   reporting credit does not look at the flag
 *   NO_RELEASE     the lap number may reach memory before the descriptor
 */

#define SLOTS    2
#define MESSAGES 5
#define BUFFER   4

#define FOR_DESCRIPTORS 1
#define FOR_ROOM        2

/* Places in memory. Direction d is the ring that endpoint d fills. */
#define DATA(d, count)  ((d) * 5 + (count) % SLOTS)
#define LAP(d, count)   ((d) * 5 + SLOTS + (count) % SLOTS)
#define CONSUMED(d)     ((d) * 5 + 2 * SLOTS)
#define ARMED(endpoint) (10 + (endpoint))
#define PLACES          12

#define LAP_OF(count) ((count) / SLOTS + 1)

typedef store_buffer {
    byte count;
    byte place[BUFFER];
    byte value[BUFFER];
    bit release[BUFFER];
};

byte memory[PLACES];
store_buffer buffer[2];
bit doorbell[2];

inline store(to, what, is_release)
{
    d_step {
        buffer[me].count < BUFFER;
        buffer[me].place[buffer[me].count] = to;
        buffer[me].value[buffer[me].count] = what;
        buffer[me].release[buffer[me].count] = is_release;
        buffer[me].count++
    }
}

inline load(from, result)
{
    d_step {
        result = memory[from];
        i = 0;
        do
        :: i < buffer[me].count ->
            if
            :: buffer[me].place[i] == from -> result = buffer[me].value[i]
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

inline fence()
{
    buffer[me].count == 0
}

/* Moves stores of one endpoint from its buffer to memory, at any time. */
proctype drain(byte me)
{
    byte chosen, i;
    bit held;
end:
    do
    :: atomic {
        buffer[me].count > 0 ->
        chosen = 0;
        do
        :: chosen + 1 < buffer[me].count -> chosen++
        :: break
        od;
        /* Held back: a release store by any before it, another by one to the same place. */
        held = (chosen > 0 && buffer[me].release[chosen]);
        i = 0;
        do
        :: i < chosen ->
            held = held || buffer[me].place[i] == buffer[me].place[chosen];
            i++
        :: else -> break
        od;
        if
        :: !held ->
            memory[buffer[me].place[chosen]] = buffer[me].value[chosen];
            i = chosen;
            do
            :: i + 1 < buffer[me].count ->
                buffer[me].place[i] = buffer[me].place[i + 1];
                buffer[me].value[i] = buffer[me].value[i + 1];
                buffer[me].release[i] = buffer[me].release[i + 1];
                i++
            :: else -> break
            od;
            buffer[me].count--;
            buffer[me].place[buffer[me].count] = 0;
            buffer[me].value[buffer[me].count] = 0;
            buffer[me].release[buffer[me].count] = 0
        :: else
        fi;
        chosen = 0;
        i = 0;
        held = 0
       }
    od
}

/* link_take_armed() and link_take_armed_for_room(), and ringing the doorbell. */
inline wake_other(why)
{
#ifndef NO_FENCE_TAKE
    fence();
#endif
    load(ARMED(1 - me), seen);
    if
    :: (seen & why) != 0 ->
        d_step {
            seen = memory[ARMED(1 - me)];
            memory[ARMED(1 - me)] = 0
        };
        if
        :: seen != 0 -> doorbell[1 - me] = 1
        :: else
        fi
    :: else
    fi;
    seen = 0
}

/* Pop as many as there are, or fewer; then report credit. */
inline receive_burst()
{
    do
    :: received < MESSAGES ->
        load(LAP(1 - me, received), seen);
        if
        :: seen == LAP_OF(received) ->
            load(DATA(1 - me, received), seen);
            assert(seen == received + 1);
            received++;
            worked = 1
        :: else -> break
        fi
    :: worked || received == MESSAGES -> break
    od;
    if
    :: worked ->
        store(CONSUMED(1 - me), received, 1);
#ifndef NO_ROOM_WAKE
        wake_other(FOR_ROOM)
#endif
    :: else
    fi
}

/* Push as many as there is room for, or fewer; then look whether the other sleeps. */
inline send_burst()
{
    pushed = 0;
    do
    :: sent < MESSAGES ->
        load(CONSUMED(me), seen);
        assert(sent - seen <= SLOTS);
        if
        :: sent - seen < SLOTS ->
            store(DATA(me, sent), sent + 1, 0);
#ifdef NO_RELEASE
            store(LAP(me, sent), LAP_OF(sent), 0);
#else
            store(LAP(me, sent), LAP_OF(sent), 1);
#endif
            sent++;
            pushed = 1
        :: else -> break
        fi
    :: pushed || sent == MESSAGES -> break
    od;
    if
    :: pushed ->
        worked = 1;
        pushed = 0;
        wake_other(FOR_DESCRIPTORS)
    :: else
    fi
}

/* link_arm() or link_arm_for_room(), the second look, and the sleep. */
inline sleep_unless_work()
{
    if
    :: sent < MESSAGES -> store(ARMED(me), FOR_DESCRIPTORS | FOR_ROOM, 0)
    :: else -> store(ARMED(me), FOR_DESCRIPTORS, 0)
    fi;
#ifndef NO_FENCE_ARM
    fence();
#endif
#ifndef NO_RECHECK
    if
    :: received < MESSAGES ->
        load(LAP(1 - me, received), seen);
        worked = (seen == LAP_OF(received))
    :: else
    fi;
    if
    :: !worked && sent < MESSAGES ->
        load(CONSUMED(me), seen);
        worked = (sent - seen < SLOTS)
    :: else
    fi;
#endif
    if
    :: worked -> store(ARMED(me), 0, 0)
    :: else -> d_step { doorbell[me] == 1; doorbell[me] = 0 }
    fi
}

proctype endpoint(byte me)
{
    byte sent, received, seen, i;
    bit worked, pushed;
    do
    :: sent == MESSAGES && received == MESSAGES -> break
    :: else ->
        worked = 0;
        receive_burst();
        send_burst();
        if
        :: !worked && (sent < MESSAGES || received < MESSAGES) -> sleep_unless_work()
        :: else
        fi
    od
}

init
{
    atomic {
        run drain(0);
        run drain(1);
        run endpoint(0);
        run endpoint(1)
    }
}
