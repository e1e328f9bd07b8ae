// RawSyscall: a system call and nothing else, for code that may touch neither errno nor libc: a
// process that shares another one's thread-local storage.
#ifndef LIVEEXEC_CORE_RAW_SYSCALL_H_
#define LIVEEXEC_CORE_RAW_SYSCALL_H_

namespace liveexec {

// Returns what the kernel returns: a result, or -errno. Always inlined, so that a caller that is
// exempt from a sanitizer's instrumentation stays so.
__attribute__((always_inline)) inline long RawSyscall(long number, long a = 0, long b = 0,
                                                      long c = 0, long d = 0, long e = 0) {
#if defined(__x86_64__)
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
               : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
#else
#error "liveexec runs on x86-64 and on 64-bit ARM"
#endif
}

}  // namespace liveexec

#endif  // LIVEEXEC_CORE_RAW_SYSCALL_H_
