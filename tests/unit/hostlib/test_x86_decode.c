/* Lengths, branches and what can be moved, as an assembler makes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hostlib/x86_decode.h"

#define CODE(...)                                                                                  \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* `length` 0: not to be known. */
struct sample {
    const char *text;
    uint8_t code[16];
    uint8_t length;
    bool movable;
};

static const struct sample samples[] = {
    {"syscall", CODE(0x0f, 0x05), 2, false},
    {"ret", CODE(0xc3), 1, true},
    {"push %r12", CODE(0x41, 0x54), 2, true},
    {"mov $425, %eax", CODE(0xb8, 0xa9, 0x01, 0, 0), 5, true},
    {"movabs $1, %rax", CODE(0x48, 0xb8, 1, 0, 0, 0, 0, 0, 0, 0), 10, true},
    {"mov $1, %ax", CODE(0x66, 0xb8, 1, 0), 4, true},
    {"mov %r15d, %eax", CODE(0x44, 0x89, 0xf8), 3, true},
    {"mov 0x48(%rbx), %rsi", CODE(0x48, 0x8b, 0x73, 0x48), 4, true},
    {"mov 0xa8(%rbx), %rdi", CODE(0x48, 0x8b, 0xbb, 0xa8, 0, 0, 0), 7, true},
    {"mov 1(%rip), %rax", CODE(0x48, 0x8b, 0x05, 1, 0, 0, 0), 7, false},
    {"mov 0x10(%rsp), %rax", CODE(0x48, 0x8b, 0x44, 0x24, 0x10), 5, true},
    {"mov 0(,%rax,8), %rax", CODE(0x48, 0x8b, 0x04, 0xc5, 0, 0, 0, 0), 8, true},
    {"mov %fs:0x28, %rax", CODE(0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0), 9, true},
    {"movl $0, 4(%rsp)", CODE(0xc7, 0x44, 0x24, 0x04, 0, 0, 0, 0), 8, true},
    {"movw $1, (%rax)", CODE(0x66, 0xc7, 0x00, 1, 0), 5, true},
    {"testb $1, 0xd0(%rdi)", CODE(0xf6, 0x87, 0xd0, 0, 0, 0, 1), 7, true},
    {"neg %eax", CODE(0xf7, 0xd8), 2, true},
    {"test $1, %ecx", CODE(0xf7, 0xc1, 1, 0, 0, 0), 6, true},
    {"cmove %eax, %r10d", CODE(0x44, 0x0f, 0x44, 0xd0), 4, true},
    {"imul %rax, %rsi", CODE(0x48, 0x0f, 0xaf, 0xf0), 4, true},
    {"movups %xmm0, 8(%rsp)", CODE(0x0f, 0x11, 0x44, 0x24, 0x08), 5, true},
    {"pshufd $0, %xmm0, %xmm0", CODE(0x66, 0x0f, 0x70, 0xc0, 0), 5, true},
    {"palignr $8, %xmm1, %xmm0", CODE(0x66, 0x0f, 0x3a, 0x0f, 0xc1, 8), 6, true},
    {"vzeroupper", CODE(0xc5, 0xf8, 0x77), 3, true},
    {"vmovdqu (%rsi), %ymm0", CODE(0xc5, 0xfe, 0x6f, 0x06), 4, true},
    {"vpbroadcastb %xmm0, %ymm0", CODE(0xc4, 0xe2, 0x7d, 0x78, 0xc0), 5, true},
    {"vmovdqu64 (%rsi), %zmm16", CODE(0x62, 0xe1, 0xfe, 0x48, 0x6f, 0x06), 6, true},
    {"lock cmpxchg %ecx, (%rdx)", CODE(0xf0, 0x0f, 0xb1, 0x0a), 4, true},
    {"rep stos", CODE(0xf3, 0x48, 0xab), 3, true},
    {"endbr64", CODE(0xf3, 0x0f, 0x1e, 0xfa), 4, true},
    {"nopw 0(%rax,%rax,1)", CODE(0x66, 0x0f, 0x1f, 0x44, 0, 0), 6, true},
    {"jmp +2", CODE(0xeb, 0x02), 2, false},
    {"je +256", CODE(0x0f, 0x84, 0, 1, 0, 0), 6, false},
    {"call +0", CODE(0xe8, 0, 0, 0, 0), 5, false},
    {"call *%rax", CODE(0xff, 0xd0), 2, true},
    {"notrack jmp *%rax", CODE(0x3e, 0xff, 0xe0), 3, false},
    {"of 32-bit code", CODE(0x06), 0, false},
};

static void instructions_are_as_long_as_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const struct sample *sample = &samples[i];
        struct x86_instruction instruction;
        bool known = x86_decode(sample->code, sample->code + sizeof(sample->code), &instruction);
        if (known != (sample->length != 0) || (known && instruction.length != sample->length) ||
            (known && instruction.is_relocatable != sample->movable))
            fail_msg("%s: known %d, %u bytes, movable %d", sample->text, known, instruction.length,
                     instruction.is_relocatable);
    }
}

static void branches_tell_where_they_go(void **state)
{
    (void)state;
    static const uint8_t back[] = {0x90, 0x90, 0xeb, 0xfc};
    static const uint8_t far[32] = {0xe9, 0x10, 0, 0, 0};
    struct x86_instruction instruction;
    assert_true(x86_decode(back + 2, back + sizeof(back), &instruction));
    assert_true(instruction.is_branch);
    assert_ptr_equal(instruction.target, back);
    assert_true(x86_decode(far, far + 5, &instruction));
    assert_ptr_equal(instruction.target, far + 5 + 16);
    static const uint8_t table[] = {0xff, 0x24, 0xc5, 0, 0, 0, 0}, call[] = {0xff, 0xd0};
    assert_true(x86_decode(table, table + sizeof(table), &instruction));
    assert_true(instruction.is_indirect_jump && !instruction.is_branch);
    assert_true(x86_decode(call, call + sizeof(call), &instruction));
    assert_false(instruction.is_indirect_jump);
}

/* Each byte on a page's last place: the decoder must not look further. */
static void nothing_is_read_beyond_the_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        for (size_t length = 1; length < samples[i].length; length++) {
            struct x86_instruction instruction;
            uint8_t *copy = test_malloc(length);
            memcpy(copy, samples[i].code, length);
            if (x86_decode(copy, copy + length, &instruction))
                assert_true(instruction.length <= length);
            test_free(copy);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instructions_are_as_long_as_they_are),
        cmocka_unit_test(branches_tell_where_they_go),
        cmocka_unit_test(nothing_is_read_beyond_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
