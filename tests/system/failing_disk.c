/* A disk that fails on demand: preloaded (LD_PRELOAD) under a shop, told what to do by a test.
 *
 * It stands before write, pwrite, pread, fsync and fdatasync, and concerns itself only with what
 * lies in FAILING_DISK_FOLDER: sockets, pipes and every other file are passed on untouched. What
 * it is to do stands in the file FAILING_DISK_CONTROL, a `struct control` which both sides map,
 * so that a test can switch a running shop's disk. conftest.py's Disk is the other side.
 *
 * It loses nothing that was written: it shows what a shop does when the disk says no, is slow,
 * or when the process dies at a given sync, and not what a power failure leaves behind.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

typedef _Atomic int32_t number;

struct control { /* conftest.py names the same fields in the same order */
    number sync_errno;       /* what a sync fails with; 0: it works */
    number syncs_before;     /* how many syncs still work first */
    number syncs_failing;    /* how many then fail before the disk heals; -1: all */
    number sync_held;        /* while it is set, syncs wait */
    number syncs_waiting;    /* told: how many wait now */
    number syncs;            /* told: how many were asked for */
    number kill_at_sync;     /* the process is killed when this many were asked for */
    number write_errno;      /* what a write fails with; 0: it works */
    number write_bytes_left; /* how many bytes are still written first */
    number read_errno;       /* what a read at an offset fails with; 0: it works */
};

static struct control *control;
static char folder[PATH_MAX];

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("FAILING_DISK_CONTROL"), *watched = getenv("FAILING_DISK_FOLDER");
    if (path == NULL || watched == NULL)
        return;
    snprintf(folder, sizeof folder, "%s/", watched);
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || mapped == MAP_FAILED)
        abort();
    close(file);
    control = mapped;
}

/* Tell whether a descriptor is a file or folder in the folder that is watched. */
static int is_watched(int descriptor)
{
    char link[64], path[PATH_MAX];
    struct stat status;
    if (control == NULL || fstat(descriptor, &status) != 0)
        return 0;
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 2);
    if (length < 0)
        return 0;
    memcpy(path + length, "/", 2); /* so that the folder itself counts as well */
    return strncmp(path, folder, strlen(folder)) == 0;
}

static void wait_while_held(void)
{
    const struct timespec pause = {0, 1000000};
    control->syncs_waiting++;
    while (control->sync_held)
        nanosleep(&pause, NULL);
    control->syncs_waiting--;
}

/* Return the error of a sync, 0 if it works. */
static int sync_error(int descriptor)
{
    if (!is_watched(descriptor))
        return 0;
    if (++control->syncs == control->kill_at_sync)
        kill(getpid(), SIGKILL);
    if (control->sync_held)
        wait_while_held();
    if (control->sync_errno == 0)
        return 0;
    if (control->syncs_before > 0) {
        control->syncs_before--;
        return 0;
    }
    if (control->syncs_failing == 0)
        return 0;
    if (control->syncs_failing > 0)
        control->syncs_failing--;
    return control->sync_errno;
}

/* Return how many of these bytes can be written, or -1 with errno set. */
static ssize_t room_for(int descriptor, size_t wanted)
{
    if (control == NULL || control->write_errno == 0 || !is_watched(descriptor))
        return (ssize_t)wanted;
    int32_t left = control->write_bytes_left;
    if (left <= 0) {
        errno = control->write_errno;
        return -1;
    }
    size_t written = wanted < (size_t)left ? wanted : (size_t)left;
    control->write_bytes_left -= (int32_t)written;
    return (ssize_t)written;
}

/* The function that this one stands before, looked up once. */
#define NEXT(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&name) next;                                                             \
        if (next == NULL)                                                                          \
            next = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                     \
        next;                                                                                      \
    })

EXPORTED int fsync(int descriptor)
{
    int error = sync_error(descriptor);
    if (error == 0)
        return NEXT(fsync)(descriptor);
    errno = error;
    return -1;
}

EXPORTED int fdatasync(int descriptor)
{
    int error = sync_error(descriptor);
    if (error == 0)
        return NEXT(fdatasync)(descriptor);
    errno = error;
    return -1;
}

EXPORTED ssize_t write(int descriptor, const void *bytes, size_t size)
{
    ssize_t room = room_for(descriptor, size);
    return room < 0 ? -1 : NEXT(write)(descriptor, bytes, (size_t)room);
}

EXPORTED ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset)
{
    ssize_t room = room_for(descriptor, size);
    return room < 0 ? -1 : NEXT(pwrite)(descriptor, bytes, (size_t)room, offset);
}

EXPORTED ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t offset)
{
    ssize_t room = room_for(descriptor, size);
    return room < 0 ? -1 : NEXT(pwrite64)(descriptor, bytes, (size_t)room, offset);
}

static int read_fails(int descriptor)
{
    if (control == NULL || control->read_errno == 0 || !is_watched(descriptor))
        return 0;
    errno = control->read_errno;
    return 1;
}

EXPORTED ssize_t pread(int descriptor, void *bytes, size_t size, off_t offset)
{
    return read_fails(descriptor) ? -1 : NEXT(pread)(descriptor, bytes, size, offset);
}

EXPORTED ssize_t pread64(int descriptor, void *bytes, size_t size, off64_t offset)
{
    return read_fails(descriptor) ? -1 : NEXT(pread64)(descriptor, bytes, size, offset);
}
