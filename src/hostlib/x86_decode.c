#include "hostlib/x86_decode.h"

#include <string.h>

/* What follows an opcode. */
enum operand {
    NONE,
    MODRM = 1,
    IMM8 = 2,
    IMM_FULL = 4, /* 4 bytes; 2 after an operand size prefix */
    REL8 = 8,     /* a branch's */
    REL32 = 16,   /* likewise */
    IMM16 = 32,
    IMM_WIDE = 64, /* as IMM_FULL, but 8 bytes with REX.W */
    UNKNOWN = 128,
};

struct cursor {
    const uint8_t *at, *end;
    bool operand_size, wide;
};

static unsigned first_quarter(uint8_t opcode)
{
    static const uint8_t forms[8] = {MODRM, MODRM, MODRM, MODRM, IMM8, IMM_FULL, UNKNOWN, UNKNOWN};
    return forms[opcode & 7];
}

static unsigned one_byte_form(uint8_t opcode)
{
    if (opcode < 0x40)
        return first_quarter(opcode);
    if (opcode >= 0x50 && opcode < 0x60)
        return NONE;
    if (opcode >= 0x70 && opcode < 0x80)
        return REL8;
    if (opcode >= 0x84 && opcode < 0x90)
        return MODRM;
    if (opcode >= 0xb0 && opcode < 0xb8)
        return IMM8;
    if (opcode >= 0xb8 && opcode < 0xc0)
        return IMM_WIDE;
    if (opcode >= 0xd8 && opcode < 0xe0)
        return MODRM;
    switch (opcode) {
    case 0x63:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
    case 0xf6:
    case 0xf7:
    case 0xfe:
    case 0xff:
        return MODRM;
    case 0x68:
    case 0xa9:
        return IMM_FULL;
    case 0x69:
    case 0x81:
    case 0xc7:
        return MODRM | IMM_FULL;
    case 0x6a:
    case 0xa8:
    case 0xcd:
        return IMM8;
    case 0x6b:
    case 0x80:
    case 0x83:
    case 0xc0:
    case 0xc1:
    case 0xc6:
        return MODRM | IMM8;
    case 0xc2:
        return IMM16;
    case 0xc8:
        return IMM16 | IMM8;
    case 0xe0:
    case 0xe1:
    case 0xe2:
    case 0xe3:
    case 0xeb:
        return REL8;
    case 0xe8:
    case 0xe9:
        return REL32;
    case 0x90:
    case 0x91:
    case 0x92:
    case 0x93:
    case 0x94:
    case 0x95:
    case 0x96:
    case 0x97:
    case 0x98:
    case 0x99:
    case 0x9b:
    case 0x9c:
    case 0x9d:
    case 0x9e:
    case 0x9f:
    case 0xa4:
    case 0xa5:
    case 0xa6:
    case 0xa7:
    case 0xaa:
    case 0xab:
    case 0xac:
    case 0xad:
    case 0xae:
    case 0xaf:
    case 0xc3:
    case 0xc9:
    case 0xcc:
    case 0xf4:
    case 0xf5:
    case 0xf8:
    case 0xf9:
    case 0xfc:
    case 0xfd:
        return NONE;
    default:
        return UNKNOWN;
    }
}

static bool has_byte(uint8_t opcode) /* in the map of 0f */
{
    return (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xa4 || opcode == 0xac ||
           opcode == 0xba || opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6);
}

static unsigned two_byte_form(uint8_t opcode)
{
    if (opcode >= 0x80 && opcode < 0x90)
        return REL32;
    if (opcode == 0x05 || opcode == 0x0b || opcode == 0x31 || opcode == 0x77 || opcode == 0xa2 ||
        opcode == 0x06 || opcode == 0x08 || opcode == 0x09 || (opcode >= 0xc8 && opcode < 0xd0))
        return NONE;
    if ((opcode >= 0x30 && opcode < 0x38) || (opcode >= 0x20 && opcode < 0x28) || opcode == 0x0f ||
        opcode == 0x04 || opcode == 0x0a || opcode == 0x0c)
        return UNKNOWN;
    return has_byte(opcode) ? MODRM | IMM8 : MODRM;
}

/* Maps of VEX and EVEX: 1 is 0f, 2 is 0f 38, 3 is 0f 3a. */
static unsigned vector_form(unsigned map, uint8_t opcode)
{
    if (map == 1)
        return opcode == 0x77 ? NONE : has_byte(opcode) ? MODRM | IMM8 : MODRM;
    return map == 2 || map == 5 || map == 6 ? MODRM : map == 3 ? MODRM | IMM8 : UNKNOWN;
}

/* Prefixes, then the opcode. @return what follows; the cursor is behind the opcode's last byte. */
static unsigned take_opcode(struct cursor *cursor, struct x86_instruction *instruction)
{
    const uint8_t *at = cursor->at;
    while (at < cursor->end &&
           (*at == 0x66 || *at == 0x67 || *at == 0xf0 || *at == 0xf2 || *at == 0xf3 ||
            *at == 0x2e || *at == 0x3e || *at == 0x64 || *at == 0x65)) {
        cursor->operand_size = cursor->operand_size || *at == 0x66;
        at++;
    }
    if (at < cursor->end && *at >= 0x40 && *at < 0x50)
        cursor->wide = (*at++ & 8) != 0;
    /* No form looks at more; of code that ends sooner, what follows is as if zero, and its length
       shows that it is cut off. */
    uint8_t bytes[5] = {0};
    size_t there = (size_t)(cursor->end - at);
    memcpy(bytes, at, there < sizeof(bytes) ? there : sizeof(bytes));
    size_t length = 1;
    unsigned form;
    if (bytes[0] == 0xc5) {
        form = vector_form(1, bytes[2]);
        length = 3;
    } else if (bytes[0] == 0xc4) {
        form = vector_form(bytes[1] & 0x1f, bytes[3]);
        length = 4;
    } else if (bytes[0] == 0x62) {
        form = vector_form(bytes[1] & 7, bytes[4]);
        length = 5;
    } else if (bytes[0] == 0x0f && (bytes[1] == 0x38 || bytes[1] == 0x3a)) {
        form = bytes[1] == 0x38 ? MODRM : MODRM | IMM8;
        length = 3;
    } else if (bytes[0] == 0x0f) {
        instruction->is_syscall = bytes[1] == 0x05;
        form = two_byte_form(bytes[1]);
        length = 2;
    } else {
        form = one_byte_form(bytes[0]);
        instruction->is_indirect_jump = bytes[0] == 0xff && (bytes[1] & 0x38) == 0x20;
        if ((bytes[0] & 0xfe) == 0xf6 && (bytes[1] & 0x38) < 0x10) /* test */
            form |= bytes[0] == 0xf6 ? IMM8 : IMM_FULL;
    }
    if (there < length)
        return UNKNOWN;
    at += length;
    cursor->at = at;
    return form;
}

/* @return how many bytes; *relative: it is an address relative to the instruction. */
static size_t modrm_bytes(const struct cursor *cursor, bool *relative)
{
    const uint8_t *at = cursor->at;
    if (at >= cursor->end)
        return 1;
    unsigned mode = *at >> 6, memory = *at & 7;
    size_t bytes = 1;
    if (mode == 3)
        return bytes;
    bool base_less = mode == 0 && memory == 5;
    *relative = base_less;
    if (memory == 4) {
        bytes++;
        base_less = mode == 0 && at + 1 < cursor->end && (at[1] & 7) == 5;
    }
    return bytes + (mode == 1 ? 1 : mode == 2 || base_less ? 4 : 0);
}

bool x86_decode(const uint8_t *code, const uint8_t *end, struct x86_instruction *instruction)
{
    struct cursor cursor = {.at = code, .end = end};
    bool relative = false;
    *instruction = (struct x86_instruction){0};
    unsigned form = take_opcode(&cursor, instruction);
    if (form & UNKNOWN)
        return false;
    const uint8_t *at = cursor.at;
    if (form & MODRM)
        at += modrm_bytes(&cursor, &relative);
    at += form & IMM8 ? 1 : 0;
    at += form & IMM16 ? 2 : 0;
    if (form & IMM_WIDE)
        at += cursor.wide ? 8 : cursor.operand_size ? 2 : 4;
    if (form & IMM_FULL)
        at += cursor.operand_size ? 2 : 4;
    at += form & REL8 ? 1 : form & REL32 ? 4 : 0;
    if (at > end)
        return false;
    instruction->length = (uint8_t)(at - code);
    instruction->is_branch = (form & (REL8 | REL32)) != 0;
    instruction->is_relocatable = !relative && !instruction->is_branch &&
                                  !instruction->is_indirect_jump && !instruction->is_syscall;
    if (form & REL8)
        instruction->target = at + (int8_t)at[-1];
    if (form & REL32) {
        int32_t distance;
        memcpy(&distance, at - 4, sizeof(distance));
        instruction->target = at + distance;
    }
    return true;
}

bool x86_branches_into(const uint8_t *start, const uint8_t *end, const uint8_t *from,
                       const uint8_t *to, bool *by_table)
{
    struct x86_instruction instruction;
    *by_table = false;
    for (const uint8_t *at = start; at < end; at += instruction.length) {
        if (!x86_decode(at, end, &instruction))
            return true;
        if (instruction.is_branch && instruction.target > from && instruction.target < to)
            return true;
        *by_table = *by_table || instruction.is_indirect_jump;
    }
    return false;
}
