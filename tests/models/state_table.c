/* Prints the core's table of legal transitions for the model of its states. */
#include <stdio.h>

#include "core/tcp/state.h"

static const struct {
    enum tcp_state state;
    const char *name;
} states[] = {
    {TCP_STATE_CLOSED, "CLOSED"},           {TCP_STATE_LISTEN, "LISTEN"},
    {TCP_STATE_SYN_SENT, "SYN_SENT"},       {TCP_STATE_SYN_RECEIVED, "SYN_RECEIVED"},
    {TCP_STATE_ESTABLISHED, "ESTABLISHED"}, {TCP_STATE_FIN_WAIT_1, "FIN_WAIT_1"},
    {TCP_STATE_FIN_WAIT_2, "FIN_WAIT_2"},   {TCP_STATE_CLOSE_WAIT, "CLOSE_WAIT"},
    {TCP_STATE_CLOSING, "CLOSING"},         {TCP_STATE_LAST_ACK, "LAST_ACK"},
    {TCP_STATE_TIME_WAIT, "TIME_WAIT"},
};

#define STATES (sizeof(states) / sizeof(states[0]))

int main(void)
{
    for (unsigned i = 0; i < STATES; i++)
        printf("#define %s %d\n", states[i].name, (int)states[i].state);
    printf("bool legal[256];\n");
    printf("inline fill_table()\n{\n");
    for (unsigned i = 0; i < STATES; i++) {
        for (unsigned j = 0; j < STATES; j++) {
            if (tcp_state_transition_legal(states[i].state, states[j].state))
                printf("    legal[%d] = true; /* arrow %d %d %s -> %s */\n",
                       (int)states[i].state * 16 + (int)states[j].state, (int)states[i].state,
                       (int)states[j].state, states[i].name, states[j].name);
        }
    }
    printf("    skip\n}\n");
    return 0;
}
