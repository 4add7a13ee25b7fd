/* dlopen(RTLD_DEEPBIND), as PHP opens its extensions: what is loaded so looks for libc's calls in
   its own dependencies first, and so finds libc's in place of ours. Its references to them are
   turned to ours once it is loaded; all its others stay as it bound them. */
#include <dlfcn.h>
#include <link.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "hostlib/interpose.h"
#include "hostlib/lock.h"

#if defined(__x86_64__)
#define RELOCATION_JUMP    R_X86_64_JUMP_SLOT
#define RELOCATION_DATA    R_X86_64_GLOB_DAT
#define RELOCATION_POINTER R_X86_64_64
#elif defined(__aarch64__)
#define RELOCATION_JUMP    R_AARCH64_JUMP_SLOT
#define RELOCATION_DATA    R_AARCH64_GLOB_DAT
#define RELOCATION_POINTER R_AARCH64_ABS64
#endif

/* How far one object needs another that needs another. */
#define NEEDED_DEPTH_MAX 32

/* Our definitions by names of this file's own: libc's headers declare not all of them. */
#define INTERPOSED(result, name, parameters) result our_##name parameters __asm__(#name);
#include "hostlib/interposed.def"
#undef INTERPOSED

/* A call of the table; what is not known of libc's yet is 0. */
static struct call {
    const char *name;
    uintptr_t ours;
    _Atomic uintptr_t libcs;
} calls[] = {
#define INTERPOSED(result, name, parameters) {#name, (uintptr_t)our_##name, 0},
#include "hostlib/interposed.def"
#undef INTERPOSED
};
#define CALL_COUNT (sizeof(calls) / sizeof(calls[0]))

static struct call *find_call(const char *name)
{
    for (size_t i = 0; i < CALL_COUNT; i++)
        if (calls[i].name[0] == name[0] && strcmp(calls[i].name, name) == 0)
            return &calls[i];
    return NULL;
}

static uintptr_t libcs_definition(struct call *call, void *libc)
{
    uintptr_t address = atomic_load_explicit(&call->libcs, memory_order_relaxed);
    if (address == 0) {
        address = (uintptr_t)dlsym(libc, call->name);
        atomic_store_explicit(&call->libcs, address, memory_order_relaxed);
    }
    return address;
}

/* ---- One object's references ---------------------------------------------------------------- */

/* What was loaded, and libc. */
struct turning {
    void *handle, *libc;
};

struct references {
    uintptr_t base, end; /* where the object lies */
    const ElfW(Sym) * symbols;
    const char *names;
    const ElfW(Rela) * jumps, *others;
    size_t jumps_bytes, others_bytes;
    uintptr_t guarded, guarded_end; /* made read-only after loading (RELRO), whole pages */
};

/* libc has turned offsets into addresses, but where the section can't be written. */
static const void *address_in(const struct references *object, ElfW(Addr) value)
{
    return (const void *)(value < object->base ? object->base + value : value);
}

static void read_dynamic(struct references *object, const ElfW(Dyn) * entry)
{
    for (; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_SYMTAB)
            object->symbols = address_in(object, entry->d_un.d_ptr);
        else if (entry->d_tag == DT_STRTAB)
            object->names = address_in(object, entry->d_un.d_ptr);
        else if (entry->d_tag == DT_JMPREL)
            object->jumps = address_in(object, entry->d_un.d_ptr);
        else if (entry->d_tag == DT_PLTRELSZ)
            object->jumps_bytes = entry->d_un.d_val;
        else if (entry->d_tag == DT_RELA)
            object->others = address_in(object, entry->d_un.d_ptr);
        else if (entry->d_tag == DT_RELASZ)
            object->others_bytes = entry->d_un.d_val;
    }
}

static bool read_object(struct references *object, const struct dl_phdr_info *info)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const ElfW(Dyn) *dynamic = NULL;
    *object = (struct references){.base = info->dlpi_addr};
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && start + part->p_memsz > object->end)
            object->end = start + part->p_memsz;
        if (part->p_type == PT_DYNAMIC)
            dynamic = (const ElfW(Dyn) *)start;
        if (part->p_type == PT_GNU_RELRO) { /* rounded as libc does */
            object->guarded = start & ~(page - 1);
            object->guarded_end = (start + part->p_memsz) & ~(page - 1);
        }
    }
    if (dynamic != NULL)
        read_dynamic(object, dynamic);
    return object->symbols != NULL && object->names != NULL;
}

/* Places to be written, some at a time. */
#define PLACES_MAX 64
struct places {
    size_t count;
    struct {
        _Atomic uintptr_t *place;
        uintptr_t ours;
    } list[PLACES_MAX];
};

/* Whether a place holds libc's call, or leads to it at the first use (RTLD_LAZY). */
static bool is_libcs(const struct references *object, struct call *call, uintptr_t value,
                     bool may_be_lazy, const struct turning *turning)
{
    uintptr_t libcs = libcs_definition(call, turning->libc);
    if (libcs == 0 || value == libcs)
        return libcs != 0;
    return may_be_lazy && value >= object->base && value < object->end &&
           (uintptr_t)dlsym(turning->handle, call->name) == libcs;
}

/* Two threads may have the same object in hand, and one must not protect what the other writes. No
   call of libc's loader is made in it. */
static struct lock writing_lock;

struct lock *dlopen_fork_lock(void)
{
    return &writing_lock;
}

static void write_places(struct places *places, const struct references *object)
{
    void *guarded = (void *)object->guarded;
    size_t bytes =
        object->guarded_end > object->guarded ? object->guarded_end - object->guarded : 0;
    lock_acquire(&writing_lock);
    if (bytes != 0 && mprotect(guarded, bytes, PROT_READ | PROT_WRITE) != 0)
        log_warning("what RTLD_DEEPBIND loads can't be changed (%s): its sockets are the kernel's",
                    strerrorname_np(errno));
    else
        for (size_t i = 0; i < places->count; i++)
            atomic_store_explicit(places->list[i].place, places->list[i].ours,
                                  memory_order_relaxed);
    if (bytes != 0)
        (void)mprotect(guarded, bytes, PROT_READ);
    lock_release(&writing_lock);
    places->count = 0;
}

static void turn_references(const struct references *object, const ElfW(Rela) * list, size_t bytes,
                            const struct turning *turning)
{
    struct places places = {.count = 0};
    for (size_t i = 0; i < bytes / sizeof(*list); i++) {
        unsigned long type = ELF64_R_TYPE(list[i].r_info);
        const ElfW(Sym) *symbol = &object->symbols[ELF64_R_SYM(list[i].r_info)];
        if ((type != RELOCATION_JUMP && type != RELOCATION_DATA && type != RELOCATION_POINTER) ||
            symbol->st_shndx != SHN_UNDEF)
            continue;
        struct call *call = find_call(object->names + symbol->st_name);
        _Atomic uintptr_t *place = (_Atomic uintptr_t *)(object->base + list[i].r_offset);
        if (call == NULL ||
            !is_libcs(object, call, atomic_load_explicit(place, memory_order_relaxed),
                      type == RELOCATION_JUMP, turning))
            continue;
        places.list[places.count].place = place;
        places.list[places.count++].ours = call->ours;
        if (places.count == PLACES_MAX)
            write_places(&places, object);
    }
    if (places.count != 0)
        write_places(&places, object);
}

/* ---- The objects that a call loads ---------------------------------------------------------- */

/* Where objects lie. */
struct objects {
    uintptr_t *bases;
    size_t count, room;
};

static int note_object(struct dl_phdr_info *info, size_t bytes, void *context)
{
    struct objects *objects = context;
    (void)bytes;
    if (objects->count < objects->room)
        objects->bases[objects->count] = info->dlpi_addr;
    objects->count++;
    return 0;
}

/* @return false: no memory. */
static bool note_objects(struct objects *objects)
{
    *objects = (struct objects){0};
    do { /* others may load more meanwhile */
        free(objects->bases);
        objects->room = objects->count + 8;
        objects->count = 0;
        objects->bases = calloc(objects->room, sizeof(*objects->bases));
        if (objects->bases == NULL)
            return false;
        (void)dl_iterate_phdr(note_object, objects);
    } while (objects->count > objects->room);
    return true;
}

static bool has_object(const struct objects *objects, uintptr_t base)
{
    for (size_t i = 0; i < objects->count; i++)
        if (objects->bases[i] == base)
            return true;
    return false;
}

static int find_object(struct dl_phdr_info *info, size_t bytes, void *context)
{
    struct dl_phdr_info *wanted = context;
    (void)bytes;
    if (info->dlpi_addr != wanted->dlpi_addr)
        return 0;
    *wanted = *info;
    return 1;
}

/* Of an object and of what it needs, so far as they are new. They stay loaded meanwhile: the caller
   has a handle of the first, which holds the others. */
static void turn_new_objects(const struct turning *turning, const struct objects *before,
                             const struct link_map *map, unsigned depth)
{
    struct dl_phdr_info info = {.dlpi_addr = map->l_addr};
    struct references object;
    if (depth > NEEDED_DEPTH_MAX || has_object(before, map->l_addr) ||
        dl_iterate_phdr(find_object, &info) == 0 || !read_object(&object, &info))
        return;
    if (object.jumps != NULL)
        turn_references(&object, object.jumps, object.jumps_bytes, turning);
    if (object.others != NULL)
        turn_references(&object, object.others, object.others_bytes, turning);
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag != DT_NEEDED)
            continue;
        void *needed = REAL(dlopen)(object.names + entry->d_un.d_val, RTLD_LAZY | RTLD_NOLOAD);
        if (needed == NULL)
            continue;
        turn_new_objects(turning, before, needed, depth + 1);
        (void)dlclose(needed);
    }
}

static void *open_deeply(const char *file, int mode)
{
    struct objects before;
    bool noted = note_objects(&before);
    struct turning turning = {.handle = REAL(dlopen)(file, mode)};
    if (turning.handle != NULL && noted) {
        int saved_errno = errno;
        turning.libc = REAL(dlopen)("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        if (turning.libc != NULL) {
            turn_new_objects(&turning, &before, turning.handle, 0);
            (void)dlclose(turning.libc);
        }
        (void)dlerror(); /* nothing has gone wrong that the program asked for */
        errno = saved_errno;
    }
    if (noted)
        free(before.bases);
    return turning.handle;
}

/* Whether libc looks for this file where its caller's object says (RPATH, RUNPATH). */
static bool depends_on_caller(const char *file, const void *caller)
{
    Dl_info info;
    struct link_map *object = NULL;
    if (file == NULL || strchr(file, '/') != NULL ||
        dladdr1(caller, &info, (void **)(void *)&object, RTLD_DL_LINKMAP) == 0 || object == NULL)
        return false;
    for (const ElfW(Dyn) *entry = object->l_ld; entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == DT_RPATH || entry->d_tag == DT_RUNPATH)
            return true;
    return false;
}

static bool is_loaded(const char *file)
{
    void *handle = REAL(dlopen)(file, RTLD_LAZY | RTLD_NOLOAD);
    return handle != NULL && dlclose(handle) == 0;
}

/* A jump to libc's wherever that can be, so that it sees its own caller. */
#ifndef __clang__
__attribute__((optimize("O2")))
#endif
PNO_EXPORT void *
dlopen(const char *file, int mode)
{
    if ((mode & RTLD_DEEPBIND) != 0) {
        if (!depends_on_caller(file, __builtin_return_address(0)))
            return open_deeply(file, mode);
        if (!is_loaded(file))
            log_warning("%s is loaded by RTLD_DEEPBIND and a path of its caller's: its sockets are "
                        "the kernel's",
                        file);
    }
    return REAL(dlopen)(file, mode);
}
