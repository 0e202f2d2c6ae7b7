// A disk that misbehaves on command, for one directory and all that is in it: preloaded into the broker by
// test_store_faults.py.
//
//   FAULTY_DISK_DIRECTORY  the directory, as the kernel names it (no links)
//   FAULTY_DISK_CONTROL    a file of 64 bytes, shared with the test: 32 bytes of text that the test writes, then counters
//
// The text:
//   ok          as the real one
//   stall       no write, sync or allocation returns until the text changes
//   stall_sync  the same for syncs only
//   enospc      each of them but sync fails: the disk is full
//   eio         each of them fails: the disk is broken
//   eio_read    reads of tables fail, at their place
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
  volatile char mode[32];
  uint64_t writes;  // that were passed on
  uint64_t syncs;   // that were done
  uint64_t refused;
  uint64_t stalled;  // that are waiting now
};

static struct control* control;
static const char* directory;
static size_t directory_size;

__attribute__((constructor)) static void begin(void) {
  const char* path = getenv("FAULTY_DISK_CONTROL");
  directory = getenv("FAULTY_DISK_DIRECTORY");
  if (path == NULL || directory == NULL) return;
  directory_size = strlen(directory);
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  void* memory = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    perror("faulty_disk");
    _exit(99);
  }
  control = memory;
}

static int ours(int fd) {
  char link[32], path[PATH_MAX];
  if (control == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const int before = errno;
  const ssize_t size = readlink(link, path, sizeof path);
  errno = before;
  return size > (ssize_t)directory_size && memcmp(path, directory, directory_size) == 0 && path[directory_size] == '/';
}

static int mode_is(const char* mode) { return strcmp((const char*)control->mode, mode) == 0; }

// 0, or what goes wrong.
static int trouble(int fd, int sync) {
  if (!ours(fd)) return 0;
  if (mode_is("stall") || (sync && mode_is("stall_sync"))) {
    __atomic_add_fetch(&control->stalled, 1, __ATOMIC_SEQ_CST);
    while (mode_is("stall") || (sync && mode_is("stall_sync"))) {
      const struct timespec nap = {0, 2000000};
      nanosleep(&nap, NULL);
    }
    __atomic_sub_fetch(&control->stalled, 1, __ATOMIC_SEQ_CST);
  }
  const int error = mode_is("eio") ? EIO : !sync && mode_is("enospc") ? ENOSPC : 0;
  if (error != 0) {
    __atomic_add_fetch(&control->refused, 1, __ATOMIC_SEQ_CST);
  } else if (!sync) {
    __atomic_add_fetch(&control->writes, 1, __ATOMIC_SEQ_CST);
  }
  return error;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRAP(type, name, sync, parameters, arguments) \
  type name parameters {                              \
    static type(*real) parameters;                    \
    if (real == NULL) real = REAL(name);              \
    const int error = trouble(fd, sync);              \
    if (error != 0) {                                 \
      errno = error;                                  \
      return -1;                                      \
    }                                                 \
    return real arguments;                            \
  }

#define WRAP_READ(name, offset)                                       \
  ssize_t name(int fd, void* data, size_t size, offset at) {          \
    static ssize_t (*real)(int, void*, size_t, offset);               \
    if (real == NULL) real = REAL(name);                              \
    if (control != NULL && mode_is("eio_read") && ours(fd)) {         \
      __atomic_add_fetch(&control->refused, 1, __ATOMIC_SEQ_CST);     \
      errno = EIO;                                                    \
      return -1;                                                      \
    }                                                                 \
    return real(fd, data, size, at);                                  \
  }
WRAP_READ(pread, off_t)
WRAP_READ(pread64, off64_t)

WRAP(ssize_t, write, 0, (int fd, const void* data, size_t size), (fd, data, size))
WRAP(ssize_t, pwrite, 0, (int fd, const void* data, size_t size, off_t at), (fd, data, size, at))
WRAP(ssize_t, pwrite64, 0, (int fd, const void* data, size_t size, off64_t at), (fd, data, size, at))
WRAP(ssize_t, writev, 0, (int fd, const struct iovec* parts, int count), (fd, parts, count))
WRAP(ssize_t, pwritev, 0, (int fd, const struct iovec* parts, int count, off_t at), (fd, parts, count, at))
WRAP(int, fallocate, 0, (int fd, int how, off_t at, off_t size), (fd, how, at, size))
WRAP(int, fallocate64, 0, (int fd, int how, off64_t at, off64_t size), (fd, how, at, size))
WRAP(int, ftruncate, 0, (int fd, off_t size), (fd, size))
WRAP(int, ftruncate64, 0, (int fd, off64_t size), (fd, size))

#define WRAP_ALLOCATE(name, offset)                  \
  int name(int fd, offset at, offset size) {         \
    static int (*real)(int, offset, offset);         \
    if (real == NULL) real = REAL(name);             \
    const int error = trouble(fd, 0);                \
    return error != 0 ? error : real(fd, at, size);  \
  }
WRAP_ALLOCATE(posix_fallocate, off_t)
WRAP_ALLOCATE(posix_fallocate64, off64_t)

#define WRAP_SYNC(name)                                                                      \
  int name(int fd) {                                                                         \
    static int (*real)(int);                                                                 \
    if (real == NULL) real = REAL(name);                                                     \
    const int error = trouble(fd, 1);                                                        \
    if (error != 0) {                                                                        \
      errno = error;                                                                         \
      return -1;                                                                             \
    }                                                                                        \
    const int result = real(fd);                                                             \
    if (result == 0 && ours(fd)) __atomic_add_fetch(&control->syncs, 1, __ATOMIC_SEQ_CST);   \
    return result;                                                                           \
  }
WRAP_SYNC(fsync)
WRAP_SYNC(fdatasync)
