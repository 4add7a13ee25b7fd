/**
 * @file list.h
 * An intrusive, circular, doubly linked list: O(1) insertion and removal, no allocation. A node
 * that is in no list is recognised by next == NULL, so zeroed memory is a valid idle node.
 */
#ifndef PNO_BASE_LIST_H
#define PNO_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *next, *previous;
};

/** Make head an empty list. */
static inline void list_init(struct list_node *head)
{
    head->next = head;
    head->previous = head;
}

static inline bool list_is_empty(const struct list_node *head)
{
    return head->next == head;
}

static inline bool list_contains_node(const struct list_node *node)
{
    return node->next != NULL;
}

static inline void list_push_back(struct list_node *head, struct list_node *node)
{
    node->next = head;
    node->previous = head->previous;
    head->previous->next = node;
    head->previous = node;
}

static inline void list_remove(struct list_node *node)
{
    struct list_node *next = node->next, *previous = node->previous;
    previous->next = next;
    next->previous = previous;
    node->next = NULL;
    node->previous = NULL;
}

/** Move all nodes of source to the end of head; source is empty afterwards. */
static inline void list_splice_back(struct list_node *head, struct list_node *source)
{
    if (list_is_empty(source))
        return;
    source->next->previous = head->previous;
    head->previous->next = source->next;
    source->previous->next = head;
    head->previous = source->previous;
    list_init(source);
}

#endif
