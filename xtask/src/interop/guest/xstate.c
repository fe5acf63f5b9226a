/* Lets linux.uml boot where the processor's register state is larger than the buffer that it keeps
 * for it (AVX-512 with AMX: 11,008 octets). PTRACE_SETREGSET then wants the whole state and answers
 * EFAULT to less, of which the guest's first process dies. Here the whole state is read, and what
 * User-mode Linux knows of it laid over it.
 *
 * cc -O2 -shared -fPIC -o xstate.so xstate.c; LD_PRELOAD=xstate.so linux.uml ...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PEEK_FIRST = 1, PEEK_LAST = 3, GETREGSET = 0x4204, SETREGSET = 0x4205, XSTATE = 0x202 };

static char state[65536] __attribute__((aligned(64)));

long ptrace(int request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    long pid = va_arg(arguments, int);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);
    if (request == SETREGSET && (long)address == XSTATE) {
        struct iovec *part = data, whole = { state, sizeof state };
        if (syscall(SYS_ptrace, GETREGSET, pid, address, &whole) < 0)
            return -1;
        memcpy(state, part->iov_base, part->iov_len < whole.iov_len ? part->iov_len : whole.iov_len);
        return syscall(SYS_ptrace, SETREGSET, pid, address, &whole);
    }
    if (request >= PEEK_FIRST && request <= PEEK_LAST) {
        /* The system call stores through its last argument, the function returns the value. */
        long value = 0;
        if (syscall(SYS_ptrace, request, pid, address, &value) < 0)
            return -1;
        errno = 0;
        return value;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
