/* A disk that fails on purpose: preloaded into a process, it counts that process's calls on the files of one store and
   makes the n-th of them fail, be cut short or end the process; it can also write down every change in order.

   Files are those whose path begins with the armed one (the database, its -wal, -shm and -journal) and their folder.
   Nothing happens before disk_arm. Processes that are forked have counters of their own. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum call { READ = 1, WRITE = 2, SYNC = 4, LOCK = 8, TRUNCATE = 16, UNLINK = 32, OPEN = 64, UNLOCK = 128 };
enum fault { NONE, KILL, TEAR, ERROR, SHORT };
enum file { ELSEWHERE = 0, FOLDER = 1, DATABASE = 2, WAL = 3, SHM = 4, JOURNAL = 5 };

static char prefix[4096];
static int files[1024];
static long count, from, until;
static int calls, fault, error;
static double chance;
static unsigned short seed[3];
static int log_to = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static ssize_t written(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return real(fd, data, size);
}

/* One line of the log: what, which file, where, how long; then the bytes. */
static void note(char what, int file, int64_t at, int64_t length, const void *data) {
    struct { char what, file; int16_t none; int32_t length; int64_t at; } head = {what, (char)file, 0, (int32_t)length, at};
    if (log_to < 0) return;
    written(log_to, &head, sizeof head);
    if (data) written(log_to, data, (size_t)length);
}

static int named(const char *path) {
    size_t size = strlen(prefix);
    if (!size || !path) return ELSEWHERE;
    if (!strncmp(path, prefix, size)) {
        path += size;
        return !*path ? DATABASE : !strcmp(path, "-wal") ? WAL : !strcmp(path, "-shm") ? SHM
             : !strcmp(path, "-journal") ? JOURNAL : ELSEWHERE;
    }
    const char *slash = strrchr(prefix, '/');
    size = (size_t)(slash - prefix);
    return !strncmp(path, prefix, size) && (!path[size] || !strcmp(path + size, "/")) ? FOLDER : ELSEWHERE;
}

static int file_of(int fd) { return fd >= 0 && fd < 1024 ? files[fd] : ELSEWHERE; }

/* Whether this call is one that something is to happen to. */
static enum fault strikes(enum call call, int file) {
    if (!file || !(calls & call)) return NONE;
    count++;
    int hit = chance > 0 ? erand48(seed) < chance : count >= from && count < until;
    if (!hit) return NONE;
    if (fault == KILL) kill(getpid(), SIGKILL);
    return (enum fault)fault;
}

/* -- what the tests call */

/* From now on: the calls `mask` on files at `path`; the ones from `first` up to `last` suffer `what`, or each one with
   the chance `odds`. */
void disk_arm(const char *path, int mask, int what, int number, long first, long last, double odds, int seeded) {
    strncpy(prefix, path, sizeof prefix - 1);
    calls = mask; fault = what; error = number; from = first; until = last; chance = odds; count = 0;
    seed[0] = (unsigned short)seeded; seed[1] = (unsigned short)(seeded >> 16); seed[2] = 0x330e;
}

long disk_count(void) { return count; }

/* Write every change down to a file descriptor. */
void disk_record(int fd) { log_to = fd; }

/* A mark among the changes: what was acknowledged by then. */
void disk_mark(const char *text) {
    pthread_mutex_lock(&turn);
    note('a', ELSEWHERE, 0, (int64_t)strlen(text), text);
    pthread_mutex_unlock(&turn);
}

/* -- the calls */

static int opened(const char *path, int flags, mode_t mode) {
    REAL(int, "open64", const char *, int, ...);
    int file = named(path);
    if (!file) return real(path, flags, mode);
    pthread_mutex_lock(&turn);
    int fd = -1;
    if (strikes(OPEN, file) >= ERROR) errno = error;
    else fd = real(path, flags, mode);
    if (fd >= 0 && fd < 1024) files[fd] = file;
    if (fd >= 0 && (flags & O_CREAT)) note('o', file, 0, 0, NULL);
    pthread_mutex_unlock(&turn);
    return fd;
}

#define MODE(flags) va_list rest; va_start(rest, flags); mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0; va_end(rest)
int open(const char *path, int flags, ...) { MODE(flags); return opened(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags); return opened(path, flags, mode); }

int close(int fd) {
    REAL(int, "close", int);
    if (fd >= 0 && fd < 1024) files[fd] = ELSEWHERE;
    return real(fd);
}

static ssize_t put(int fd, const void *data, size_t size, off64_t at, int placed) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    int file = file_of(fd);
    if (!file) return placed ? real(fd, data, size, at) : written(fd, data, size);
    if (!placed) at = lseek64(fd, 0, SEEK_CUR);
    pthread_mutex_lock(&turn);
    enum fault hit = strikes(WRITE, file);
    ssize_t done = -1;
    if (hit == ERROR) errno = error;
    else {
        size_t most = (hit == SHORT || hit == TEAR) && size > 1 ? size / 2 : size;
        done = placed ? real(fd, data, most, at) : written(fd, data, most);
        if (hit == TEAR) kill(getpid(), SIGKILL);
        if (done > 0) note('w', file, at, done, data);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return put(fd, data, size, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return put(fd, data, size, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return put(fd, data, size, at, 1); }

static ssize_t get(int fd, void *data, size_t size, off64_t at) {
    REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
    int file = file_of(fd);
    if (!file) return real(fd, data, size, at);
    pthread_mutex_lock(&turn);
    enum fault hit = strikes(READ, file);
    ssize_t done = -1;
    if (hit == ERROR) errno = error;
    else done = real(fd, data, hit == SHORT && size > 1 ? size / 2 : size, at);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t pread(int fd, void *data, size_t size, off_t at) { return get(fd, data, size, at); }
ssize_t pread64(int fd, void *data, size_t size, off64_t at) { return get(fd, data, size, at); }

static int synced(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int file = file_of(fd);
    if (!file) return real(fd);
    pthread_mutex_lock(&turn);
    int done = -1;
    if (strikes(SYNC, file) >= ERROR) errno = error;
    else {
        done = real(fd);
        if (!done) note('s', file, 0, 0, NULL);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

static int cut(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    int file = file_of(fd);
    if (!file) return real(fd, size);
    pthread_mutex_lock(&turn);
    int done = -1;
    if (strikes(TRUNCATE, file) >= ERROR) errno = error;
    else {
        done = real(fd, size);
        if (!done) note('t', file, size, 0, NULL);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    int file = named(path);
    if (!file) return real(path);
    pthread_mutex_lock(&turn);
    int done = -1;
    if (strikes(UNLINK, file) >= ERROR) errno = error;
    else {
        done = real(path);
        if (!done) note('u', file, 0, 0, NULL);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

static int controlled(int fd, int command, void *value) {
    REAL(int, "fcntl64", int, int, ...);
    int file = file_of(fd);
    if (file && (command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK)) {
        pthread_mutex_lock(&turn);
        enum fault hit = strikes(((struct flock *)value)->l_type == F_UNLCK ? UNLOCK : LOCK, file);
        pthread_mutex_unlock(&turn);
        if (hit >= ERROR) { errno = error; return -1; }
    }
    int done = real(fd, command, value);
    if (done >= 0 && done < 1024 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC)) files[done] = file;
    return done;
}

int fcntl(int fd, int command, ...) {
    va_list rest; va_start(rest, command); void *value = va_arg(rest, void *); va_end(rest);
    return controlled(fd, command, value);
}
int fcntl64(int fd, int command, ...) {
    va_list rest; va_start(rest, command); void *value = va_arg(rest, void *); va_end(rest);
    return controlled(fd, command, value);
}
