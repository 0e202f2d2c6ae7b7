// Sets the wall clock of one program, and of nobody else: preloaded into the broker by test_wall_clock.py.
//
//   WALL_CLOCK_SHIFT  a file of 8 bytes, shared with the test: milliseconds by which the clock is ahead, signed
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t* shift;
static int (*real_gettime)(clockid_t, struct timespec*);

__attribute__((constructor)) static void begin(void) {
  real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  const char* path = getenv("WALL_CLOCK_SHIFT");
  const int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) abort();
  void* memory = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) abort();
  close(fd);
  shift = memory;
}

int clock_gettime(clockid_t clock, struct timespec* t) {
  if (real_gettime == NULL) real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  const int result = real_gettime(clock, t);
  if (result != 0 || shift == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
  const int64_t ns = t->tv_nsec + (*shift % 1000) * 1000000;
  t->tv_sec += *shift / 1000 + (ns >= 1000000000) - (ns < 0);
  t->tv_nsec = ns - ((ns >= 1000000000) - (ns < 0)) * INT64_C(1000000000);
  return 0;
}

int gettimeofday(struct timeval* restrict t, void* restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}
