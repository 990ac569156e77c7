// Runs the threads of a block as fibers, one at a time, in seeded random order between their waits.
// Never compiled with a sanitizer: what it touches is no memory of the kernels.
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/tsan_interface.h>
#include "cuda.h"     // last: its macros are names that the system's headers use

// Null unless the process runs under that sanitizer.
#pragma weak __asan_unpoison_memory_region
#pragma weak __sanitizer_start_switch_fiber
#pragma weak __sanitizer_finish_switch_fiber
#pragma weak __tsan_get_current_fiber
#pragma weak __tsan_create_fiber
#pragma weak __tsan_destroy_fiber
#pragma weak __tsan_switch_to_fiber
#pragma weak __tsan_acquire
#pragma weak __tsan_release

dim3 gridDim, blockDim;
uint3 blockIdx, threadIdx;
extern "C" unsigned char emulator_shared_begin[], emulator_shared_end[];

// Saves what a function must preserve, changes stacks, takes up what was saved there.
extern "C" void emulator_switch(void** save, void* load);
asm(R"(
.globl emulator_switch
.hidden emulator_switch
emulator_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

namespace emulator {
namespace {

constexpr unsigned most_threads = 1024;
// Address space only: what is not used takes no memory. But under TSan all of it is forgotten for each block.
const size_t stack_bytes = __tsan_create_fiber ? 32 << 10 : 256 << 10;

enum State : unsigned char { ready, at_block, at_warp, done };

struct Fiber {
    void* stack_pointer;
    void* sanitizer;
    State state;
    unsigned number;
    unsigned mask;                      // the lanes it waits for
    unsigned partners;                  // those that took part
    int line;                           // where it waits
    unsigned block_phase, warp_phase;   // barriers passed
    uint3 index;
    std::vector<Copy> copies;           // asynchronous ones, each followed by the number of its group
    std::vector<unsigned> groups;
    size_t next;                        // the first that has not happened
    unsigned group;
};

struct Block {
    std::unique_ptr<unsigned char[]> shared;
    char begun, clock[2], warp_clock[2][most_threads / 32];   // stand for the start and the barriers, for TSan
};

struct Failure {};

std::vector<Fiber> fibers(most_threads);
Lane shown[most_threads], seen[most_threads];
unsigned char* stacks;
std::vector<std::unique_ptr<Block>> blocks;            // under TSan, no address serves two blocks
std::vector<void*> sanitized;                          // TSan's fibers, which cost much
constexpr size_t kept_fibers = 256;                    // between launches, by each library: TSan bears 8128 in all
size_t used_fibers;                                    // by this launch: no two of its threads share one
char launch_clock;
void* scheduler_stack_pointer;
void* scheduler_sanitizer;
const void* main_stack;
size_t main_stack_bytes;
Fiber* current;                                        // null while the scheduler runs
unsigned total;
int pending_count, released_count;
int block_of_products;
uint64_t random_state;
void (*entry)(void*);
void* arguments;
char message[2048];

uint32_t random_bits()                                 // xorshift64*, Marsaglia 2003, Vigna 2016
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return uint32_t(random_state * 0x2545f4914f6cdd1dull >> 32);
}
unsigned below(unsigned n) { return unsigned(uint64_t(random_bits()) * n >> 32); }
void shuffle(unsigned* a, unsigned n)
{
    for (unsigned i = n; i > 1; --i) std::swap(a[i - 1], a[below(i)]);
}

void acquire(char* clock) { if (__tsan_acquire) __tsan_acquire(clock); }
void release(char* clock) { if (__tsan_release) __tsan_release(clock); }
unsigned char* stack_of(const Fiber& f) { return stacks + f.number * stack_bytes; }

void enter(Fiber& f)
{
    current = &f;
    threadIdx = f.index;
    void* fake = nullptr;
    if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(f.sanitizer, __tsan_switch_to_fiber_no_sync);
    if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(&fake, stack_of(f), stack_bytes);
    emulator_switch(&scheduler_stack_pointer, f.stack_pointer);
    if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
    current = nullptr;
    if (message[0]) throw Failure();
}

void leave(Fiber& f)
{
    void* fake = nullptr;
    if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(scheduler_sanitizer, __tsan_switch_to_fiber_no_sync);
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(f.state == done ? nullptr : &fake, main_stack, main_stack_bytes);
    emulator_switch(&f.stack_pointer, scheduler_stack_pointer);
    if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}

void body()
{
    if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(nullptr, &main_stack, &main_stack_bytes);
    acquire(&blocks.back()->begun);                    // whatever came before the launch, but no other block
    entry(arguments);
    current->state = done;
    release(&launch_clock);
    leave(*current);
}

void wait(State state, unsigned mask, int line)
{
    Fiber& f = *current;
    f.state = state;
    f.mask = mask;
    f.line = line;
    leave(f);
}

void start(Fiber& f)
{
    void** top = reinterpret_cast<void**>(stack_of(f) + stack_bytes);
    *--top = nullptr;                                  // where body would return to
    *--top = reinterpret_cast<void*>(body);
    for (int i = 0; i < 6; ++i) *--top = nullptr;      // the registers that emulator_switch takes up
    f.stack_pointer = top;
}

// Lets those lanes of a warp go on that wait for one another and are all there; threads that have finished are not
// waited for.
bool open_warp(unsigned first)
{
    const unsigned lanes = min(32u, total - first);
    bool opened = false;
    unsigned settled = 0;                              // lanes that wait with an earlier one
    for (unsigned i = 0; i < lanes; ++i) {
        const Fiber& f = fibers[first + i];
        if (f.state != at_warp || settled >> i & 1) continue;
        unsigned partners = 0;
        bool all = true;
        for (unsigned j = 0; j < lanes && all; ++j) {
            if (!(f.mask >> j & 1)) continue;
            const Fiber& g = fibers[first + j];
            if (g.state == at_warp && g.mask == f.mask && g.line == f.line) partners |= 1u << j;
            else all = g.state == done;
        }
        settled |= partners;
        if (!all) continue;
        for (unsigned j = 0; j < lanes; ++j)
            if (partners >> j & 1) {
                Fiber& g = fibers[first + j];
                seen[first + j] = shown[first + j];
                g.partners = partners;
                g.state = ready;
            }
        opened = true;
    }
    return opened;
}

// Lets the threads of the block go on if all that have not finished wait at its barrier.
bool open_block()
{
    const Fiber* any = nullptr;
    for (unsigned i = 0; i < total; ++i) {
        const Fiber& f = fibers[i];
        if (f.state == ready || f.state == at_warp) return false;
        if (f.state == at_block) {
            if (any && any->line != f.line) fail("threads wait at different __syncthreads");
            any = &f;
        }
    }
    for (unsigned i = 0; i < total; ++i)
        if (fibers[i].state == at_block) fibers[i].state = ready;
    released_count = pending_count;
    pending_count = 0;
    return any != nullptr;
}

// One turn of a warp: its lanes in random order, up to their next wait. Whoever was released runs before anyone is
// released again, so `seen` is read before it is overwritten.
bool run_warp(unsigned first)
{
    unsigned order[32];
    const unsigned lanes = min(32u, total - first);
    for (unsigned i = 0; i < lanes; ++i) order[i] = first + i;
    shuffle(order, lanes);
    bool moved = false;
    for (unsigned i = 0; i < lanes; ++i)
        if (fibers[order[i]].state == ready) enter(fibers[order[i]]), moved = true;
    return moved;
}

void poison_shared(unsigned bytes)
{
    if (!__tsan_create_fiber) blocks.clear();
    blocks.emplace_back(new Block{std::unique_ptr<unsigned char[]>(new unsigned char[bytes]), {}, {}});
    const auto fresh = [](unsigned char* from, size_t size) {
        mmap(from, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    };
    const size_t statics = emulator_shared_end - emulator_shared_begin;
    if (__tsan_create_fiber) {                         // forget what threads of earlier blocks did there
        fresh(stacks, total * stack_bytes);
        if (statics) fresh(emulator_shared_begin, statics);
    }
    // by loops: memset would be the sanitizer's, which knows that between arrays there is nothing
    for (volatile unsigned char *p = emulator_shared_begin; p < emulator_shared_end; ++p) *p = 0xff;
    for (volatile unsigned char *p = dynamic_shared(), *end = p + bytes; p < end; ++p) *p = 0xff;
}

void run_block(unsigned shared)
{
    poison_shared(shared);
    pending_count = 0;
    for (unsigned i = 0; i < total; ++i) {
        Fiber& f = fibers[i];
        if (__tsan_create_fiber && used_fibers == sanitized.size()) sanitized.push_back(__tsan_create_fiber(0));
        f.sanitizer = __tsan_create_fiber ? sanitized[used_fibers++] : nullptr;
        f.state = ready;
        f.number = i;
        f.block_phase = f.warp_phase = f.group = 0;
        f.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        f.copies.clear();
        f.copies.reserve(1024);                            // here, or TSan takes two threads that grow them for a race
        f.groups.reserve(1024);
        f.groups.clear();
        f.next = 0;
        start(f);
    }
    release(&blocks.back()->begun);
    unsigned warps[most_threads / 32], count = (total + 31) / 32;
    for (unsigned i = 0; i < count; ++i) warps[i] = 32 * i;
    for (;;) {
        shuffle(warps, count);
        bool moved = false, alive = false;
        for (unsigned i = 0; i < count; ++i)           // some warps run far ahead of the others
            do moved |= run_warp(warps[i]);
            while (open_warp(warps[i]) && below(8));
        for (unsigned i = 0; i < total && !alive; ++i) alive = fibers[i].state != done;
        if (!alive) return;
        if (!open_block() && !moved) fail("deadlock: threads wait for others that never come");
    }
}

#ifdef PLAIN
// What would end the process becomes a failed launch.
[[noreturn]] void crashed() { fail("memory that is not there is read or written"); }
void on_signal(int, siginfo_t*, void* context)
{
    if (!current) {
        signal(SIGSEGV, SIG_DFL);
        return;
    }
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    registers[REG_RSP] = greg_t(stack_of(*current) + stack_bytes / 2 - 8);
    registers[REG_RIP] = greg_t(crashed);
}
struct Signals {
    struct sigaction segv, bus;
    stack_t stack;
    static inline char own_stack[16 << 10];
    Signals()
    {
        const stack_t own{own_stack, 0, sizeof own_stack};
        sigaltstack(&own, &stack);
        struct sigaction action{};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &segv);
        sigaction(SIGBUS, &action, &bus);
    }
    ~Signals()
    {
        sigaction(SIGSEGV, &segv, nullptr);
        sigaction(SIGBUS, &bus, nullptr);
        sigaltstack(&stack, nullptr);
    }
};
#else
struct Signals {};
#endif

}  // namespace

[[noreturn]] void fail(const char* what)
{
    static const char* const doing[] = {"running", "at __syncthreads", "at a warp operation", "finished"};
    int at = std::snprintf(message, sizeof message, "%s; block (%u, %u, %u)", what, blockIdx.x, blockIdx.y, blockIdx.z);
    if (current)
        at += std::snprintf(message + at, sizeof message - at, ", thread (%u, %u, %u)", threadIdx.x, threadIdx.y, threadIdx.z);
    for (unsigned i = 0; i < total && at < int(sizeof message) - 100; ++i)
        if (const Fiber& f = fibers[i]; i == 0 || f.state != fibers[i - 1].state || f.line != fibers[i - 1].line) {
            at += std::snprintf(message + at, sizeof message - at, "\n  from thread %u: %s", i, doing[f.state]);
            if (f.state == at_block || f.state == at_warp)
                at += std::snprintf(message + at, sizeof message - at, ", line %d", f.line);
        }
    if (!current) throw Failure();
    emulator_switch(&current->stack_pointer, scheduler_stack_pointer);
    __builtin_unreachable();
}

unsigned lane_id() { return current->number % 32; }
unsigned char* dynamic_shared() { return blocks.back()->shared.get(); }
unsigned chance(unsigned n) { return below(n); }
int tensor_block() { return block_of_products; }
bool shows(unsigned lane) { return current->partners >> lane & 1; }

void sync_block(int line)
{
    char* clock = &blocks.back()->clock[current->block_phase++ % 2];
    release(clock);
    wait(at_block, 0, line);
    acquire(clock);
}

int sync_block_count(bool predicate, int line)
{
    pending_count += predicate;
    sync_block(line);
    return released_count;
}

void sync_warp(unsigned mask, int line)
{
    if (!(mask >> lane_id() & 1)) fail("a lane outside its own mask");
    char* clock = &blocks.back()->warp_clock[current->warp_phase++ % 2][current->number / 32];
    release(clock);
    wait(at_warp, mask, line);
    acquire(clock);
}

const Lane* exchange(unsigned mask, const Lane& mine, int line)
{
    if (!(mask >> lane_id() & 1)) fail("a lane outside its own mask");
    shown[current->number] = mine;
    wait(at_warp, mask, line);
    return &seen[current->number / 32 * 32];
}

void maybe_yield()
{
    if (below(8) == 0) leave(*current);
}

void defer(Copy copy)
{
    current->copies.push_back(copy);
    current->groups.push_back(current->group);
}
void commit() { ++current->group; }
bool next_copy(unsigned groups, Copy& copy)
{
    Fiber& f = *current;
    if (f.next == f.copies.size() || f.groups[f.next] + groups >= f.group) return false;
    copy = f.copies[f.next++];
    return true;
}

}  // namespace emulator

// Runs blocks first, ..., last - 1 of the grid in random order. Returns null, or what went wrong.
extern "C" const char* emulator_run(const unsigned* shape, unsigned shared, uint64_t seed, uint64_t first, uint64_t last,
                                    void (*thread)(void*), void* args)
{
    using namespace emulator;
    if (!stacks) {
        stacks = static_cast<unsigned char*>(mmap(nullptr, most_threads * stack_bytes, PROT_READ | PROT_WRITE,
                                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (stacks == MAP_FAILED) return stacks = nullptr, "no memory for the stacks";
    }
    gridDim = dim3(shape[0], shape[1], shape[2]);
    blockDim = dim3(shape[3], shape[4], shape[5]);
    total = blockDim.x * blockDim.y * blockDim.z;
    entry = thread;
    arguments = args;
    message[0] = 0;
    random_state = (seed + 1) * 0x9e3779b97f4a7c15ull;
    block_of_products = 4 << below(3);
    if (__tsan_get_current_fiber) scheduler_sanitizer = __tsan_get_current_fiber();
    std::vector<uint64_t> order;
    for (uint64_t b = first; b < last; ++b) order.push_back(b);
    for (uint64_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[below(unsigned(i))]);
    try {
        [[maybe_unused]] const Signals signals;
        for (uint64_t b : order) {
            blockIdx = {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y), unsigned(b / gridDim.x / gridDim.y)};
            run_block(shared);
        }
    } catch (Failure) {
        current = nullptr;
        if (__tsan_create_fiber) sanitized.clear();    // they stand somewhere within a kernel: not to be used again
        if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(stacks, most_threads * stack_bytes);
    }
    acquire(&launch_clock);
    blocks.clear();
    used_fibers = 0;
    for (; sanitized.size() > kept_fibers; sanitized.pop_back()) __tsan_destroy_fiber(sanitized.back());
    return message[0] ? message : nullptr;
}

#ifdef PLAIN
// The checks of -fsanitize=alignment,bounds,... that cost little, as failed launches and without the sanitizer's library.
namespace {
struct Where { const char* file; unsigned line, column; };
[[noreturn]] void report(const char* what, const void* data)
{
    const Where* where = static_cast<const Where*>(data);
    static char text[256];
    std::snprintf(text, sizeof text, "%s, %s line %u", what, where->file, where->line);
    emulator::fail(text);
}
}
#define HANDLER(name, what, ...) \
    extern "C" void __ubsan_handle_##name##_abort(void* data, ##__VA_ARGS__) { report(what, data); }
HANDLER(out_of_bounds, "an index outside its array", void*)
HANDLER(shift_out_of_bounds, "a shift by too many bits", void*, void*)
HANDLER(add_overflow, "an addition of signed integers overflows", void*, void*)
HANDLER(sub_overflow, "a subtraction of signed integers overflows", void*, void*)
HANDLER(mul_overflow, "a product of signed integers overflows", void*, void*)
HANDLER(negate_overflow, "a negation of a signed integer overflows", void*)
HANDLER(divrem_overflow, "a division by zero", void*, void*)
HANDLER(type_mismatch_v1, "an address is not aligned to its type", void*)
#endif
