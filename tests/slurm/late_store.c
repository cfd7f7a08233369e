/* A network file system as one of its clients sees it, to be preloaded: what was not there when the client looked is not there
   for a minute, whoever makes it meanwhile, unless the client lists the folder that it is in. Only for paths with `/artifacts/`. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define MOST 4096
#define KEPT 60

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    char path[PATH_MAX];
    time_t until;
} absent[MOST];

/* Whether the client still believes that `path`, or a folder above it, is not there. */
static int believed_absent(const char *path) {
    if (path == NULL || strstr(path, "/artifacts/") == NULL)
        return 0;
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; i++) {
        size_t length = strlen(absent[i].path);
        if (length > 0 && absent[i].until > time(NULL) && strncmp(path, absent[i].path, length) == 0 &&
            (path[length] == 0 || path[length] == '/'))
            found = 1;
    }
    pthread_mutex_unlock(&lock);
    if (found)
        errno = ENOENT;
    return found;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Remembers what is missing of a path: the file, or the first of the folders that it is in. */
static void remember(const char *path) {
    int error = errno;
    const char *below = path == NULL || error != ENOENT ? NULL : strstr(path, "/artifacts/");
    if (below != NULL && strlen(path) < PATH_MAX) {
        char missing[PATH_MAX];
        struct stat found;
        strcpy(missing, path);
        for (const char *at = strchr(below + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
            missing[at - path] = 0;
            if (REAL(stat)(missing, &found) != 0)
                break;
            missing[at - path] = '/';
        }
        pthread_mutex_lock(&lock);
        for (int i = 0; i < MOST; i++)
            if (absent[i].path[0] == 0 || absent[i].until <= time(NULL)) {
                strcpy(absent[i].path, missing);
                absent[i].until = time(NULL) + KEPT;
                break;
            }
        pthread_mutex_unlock(&lock);
    }
    errno = error;
}

/* A folder is listed, which shows everything in it. */
static void forget_below(const char *folder) {
    size_t length = strlen(folder);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; i++)
        if (strncmp(absent[i].path, folder, length) == 0 && absent[i].path[length] == '/')
            absent[i].path[0] = 0;
    pthread_mutex_unlock(&lock);
}

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
    if (believed_absent(path))
        return -1;
    int answer = REAL(statx)(folder, path, flags, mask, found);
    if (answer < 0)
        remember(path);
    return answer;
}

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    if (!(flags & O_CREAT) && believed_absent(path))
        return -1;
    int answer = real(path, flags, mode);
    if (answer < 0 && !(flags & O_CREAT))
        remember(path);
    return answer;
}

#define OPEN(name)                                                                                                             \
    int name(const char *path, int flags, ...) {                                                                               \
        va_list rest;                                                                                                          \
        va_start(rest, flags);                                                                                                 \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                                \
        va_end(rest);                                                                                                          \
        return opened((int (*)(const char *, int, ...))REAL(name), path, flags, mode);                                         \
    }
OPEN(open)
OPEN(open64)

DIR *opendir(const char *path) {
    if (believed_absent(path))
        return NULL;
    DIR *listed = REAL(opendir)(path);
    if (listed != NULL)
        forget_below(path);
    return listed;
}
