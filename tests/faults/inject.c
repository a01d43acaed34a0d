/* Preloaded into the daemon (LD_PRELOAD): lets a test step its wall clock, break its disk and take its DNS away.
 *
 * $LLMQD_INJECT names a file of four 64-bit numbers that is mapped and may change at any time: nanoseconds to add to
 * the wall clock; the errno of every write below the directory; whether names can be resolved (0) or not (1); spare.
 * The directory is $LLMQD_INJECT_BELOW. The monotonic clock, reads and sockets are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *control;
static const char *below;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("LLMQD_INJECT");
    below = getenv("LLMQD_INJECT_BELOW");
    int fd = name ? open(name, O_RDONLY) : -1;
    if (fd >= 0) {
        void *map = mmap(NULL, 32, PROT_READ, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) control = map;
        close(fd);
    }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int broken_path(const char *path) {
    return control && control[1] && below && path && strncmp(path, below, strlen(below)) == 0 ? (int)control[1] : 0;
}

static int broken(int fd) {
    if (!control || !control[1]) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return broken_path(path);
}

#define FAIL_IF(error) do { int why = (error); if (why) { errno = why; return -1; } } while (0)

ssize_t write(int fd, const void *data, size_t size) { FAIL_IF(broken(fd)); return REAL(write)(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { FAIL_IF(broken(fd)); return REAL(pwrite)(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { FAIL_IF(broken(fd)); return REAL(pwrite64)(fd, data, size, at); }
int ftruncate(int fd, off_t size) { FAIL_IF(broken(fd)); return REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { FAIL_IF(broken(fd)); return REAL(ftruncate64)(fd, size); }
int fsync(int fd) { FAIL_IF(broken(fd)); return REAL(fsync)(fd); }
int fdatasync(int fd) { FAIL_IF(broken(fd)); return REAL(fdatasync)(fd); }
int unlink(const char *path) { FAIL_IF(broken_path(path)); return REAL(unlink)(path); }
int rename(const char *from, const char *to) { FAIL_IF(broken_path(to)); return REAL(rename)(from, to); }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR)) FAIL_IF(broken_path(path)); \
        return REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

static int64_t step(void) { return control ? control[0] : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL(clock_gettime)(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && step()) {
        int64_t whole = now->tv_sec * 1000000000LL + now->tv_nsec + step();
        now->tv_sec = whole / 1000000000LL;
        now->tv_nsec = whole % 1000000000LL;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    if (control && control[2] && host && strspn(host, "0123456789.:") != strlen(host)) return EAI_AGAIN;
    return REAL(getaddrinfo)(host, port, hints, found);
}
