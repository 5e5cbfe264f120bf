// Loaded by LD_PRELOAD: the wall clock shows so many seconds more as the file of CHAOS_CLOCK holds
// (eight bytes, little endian), and jumps when they change. The monotonic clock goes on as it is,
// as where somebody sets the machine's time.
// Waits until a moment of that clock (TensorFlow's mutexes) end when the process sees it come.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift() {
  static const volatile long *const seconds = [] {
    static const long none = 0;
    const char *path = getenv("CHAOS_CLOCK");
    int descriptor = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (descriptor < 0) return &none;
    void *mapped = mmap(nullptr, sizeof(long), PROT_READ, MAP_SHARED, descriptor, 0);
    close(descriptor);
    return mapped == MAP_FAILED ? &none : static_cast<const long *>(mapped);
  }();
  return *seconds;
}

extern "C" long syscall(long number, ...) noexcept {
  using Syscall = long (*)(long, ...);
  static const Syscall next = reinterpret_cast<Syscall>(dlsym(RTLD_NEXT, "syscall"));
  va_list given;
  va_start(given, number);
  long arguments[6];
  for (long &argument : arguments) argument = va_arg(given, long);
  va_end(given);
  struct timespec deadline;
  if (number == SYS_futex && (arguments[1] & FUTEX_CLOCK_REALTIME) && arguments[3]) {
    deadline = *reinterpret_cast<const struct timespec *>(arguments[3]);
    deadline.tv_sec -= shift();
    arguments[3] = reinterpret_cast<long>(&deadline);
  }
  return next(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
              arguments[5]);
}

extern "C" int clock_gettime(clockid_t clock, struct timespec *now) noexcept {
  long code = syscall(SYS_clock_gettime, clock, now);
  if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += shift();
  return static_cast<int>(code);
}

extern "C" int gettimeofday(struct timeval *__restrict now, void *__restrict) noexcept {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  if (now) *now = {found.tv_sec, found.tv_nsec / 1000};
  return 0;
}

extern "C" time_t time(time_t *kept) noexcept {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  if (kept) *kept = found.tv_sec;
  return found.tv_sec;
}
