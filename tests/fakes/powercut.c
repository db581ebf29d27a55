/* Logs what a program does to the files of one directory, in order: LD_PRELOAD this, DIRECTORY and LOG in
 * the environment as POWERCUT_DIR and POWERCUT_LOG. From the log every state is rebuilt in which a power cut
 * may have left the directory (tests/fakes/powercut.py).
 *
 * A record: uint8 op, uint32 file, uint64 offset or size, uint32 length, bytes. Ops: o open (bytes = name),
 * w write, t truncate, s sync, u unlink (bytes = name). Memory maps (SQLite's -shm) are not logged: they
 * mean nothing after a cut. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS 1024
static uint32_t file_of[FDS];
static uint32_t files;
static int log_fd = -1;
static const char *folder;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_open)(const char *, int, ...);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_close)(int);

__attribute__((constructor)) static void begin(void) {
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_open = dlsym(RTLD_NEXT, "open64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_close = dlsym(RTLD_NEXT, "close");
    folder = getenv("POWERCUT_DIR");
    const char *name = getenv("POWERCUT_LOG");
    if (folder && name) log_fd = real_open(name, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
}

static void put(char op, uint32_t file, uint64_t at, const void *data, uint32_t n) {
    unsigned char head[17];
    head[0] = (unsigned char)op;
    memcpy(head + 1, &file, 4);
    memcpy(head + 5, &at, 8);
    memcpy(head + 13, &n, 4);
    if (real_write(log_fd, head, sizeof head) != sizeof head) abort();
    if (n && real_write(log_fd, data, n) != (ssize_t)n) abort();
}

static const char *inside(const char *path) {
    size_t n = folder ? strlen(folder) : 0;
    if (log_fd < 0 || strncmp(path, folder, n)) return NULL;
    if (!path[n]) return "."; /* the directory itself: to sync what came and went in it */
    return path[n] == '/' ? path + n + 1 : NULL;
}

static int opened(const char *path, int flags, mode_t mode) {
    int fd = real_open(path, flags, mode);
    const char *name = inside(path);
    if (fd >= 0 && fd < FDS) {
        pthread_mutex_lock(&lock);
        file_of[fd] = 0;
        if (name) {
            file_of[fd] = ++files;
            put('o', files, 0, name, (uint32_t)strlen(name));
        }
        pthread_mutex_unlock(&lock);
    }
    return fd;
}

#define MODE(flags) va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more)
int open(const char *path, int flags, ...) { MODE(flags); return opened(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags); return opened(path, flags, mode); }
#define IS(fd) (log_fd >= 0 && (fd) >= 0 && (fd) < FDS && file_of[fd])

static ssize_t written(int fd, const void *data, size_t n, off_t at) {
    if (!IS(fd)) return real_pwrite(fd, data, n, at);
    pthread_mutex_lock(&lock);
    ssize_t done = real_pwrite(fd, data, n, at);
    if (done > 0) put('w', file_of[fd], (uint64_t)at, data, (uint32_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return written(fd, data, n, at); }
ssize_t pwrite64(int fd, const void *data, size_t n, off_t at) { return written(fd, data, n, at); }
ssize_t write(int fd, const void *data, size_t n) {
    if (!IS(fd)) return real_write(fd, data, n);
    pthread_mutex_lock(&lock);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = real_write(fd, data, n);
    if (done > 0) put('w', file_of[fd], (uint64_t)at, data, (uint32_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}

static int cut(int fd, off_t size) {
    int done = real_ftruncate(fd, size);
    if (done == 0 && IS(fd)) {
        pthread_mutex_lock(&lock);
        put('t', file_of[fd], (uint64_t)size, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return done;
}
int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off_t size) { return cut(fd, size); }

static int synced(int fd, int (*call)(int)) {
    int done = call(fd);
    if (done == 0 && IS(fd)) {
        pthread_mutex_lock(&lock);
        put('s', file_of[fd], 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return done;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int unlink(const char *path) {
    int done = real_unlink(path);
    const char *name = inside(path);
    if (done == 0 && name) {
        pthread_mutex_lock(&lock);
        put('u', 0, 0, name, (uint32_t)strlen(name));
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int close(int fd) {
    if (IS(fd)) file_of[fd] = 0;
    return real_close(fd);
}
