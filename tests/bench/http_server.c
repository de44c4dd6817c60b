/* http_server: the fastest server that a load test over HTTP can have: a fixed answer to every request.
 *
 *   cc -O2 -o http_server http_server.c
 *   ./http_server ANSWER_BYTES
 *
 * Keep-alive, one thread, epoll. It finds where a request ends (an empty line and a Content-Length) and nothing else.
 * In C, so that whoever loads it is the limit. Prints one line when it listens, and serves until it is ended.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define REQUEST_BYTES 8192
#define FILES_MAX 65536

typedef struct {
    int size;
    char bytes[REQUEST_BYTES + 1];
} Client;

static Client *clients[FILES_MAX];
static char answer[1 << 16];
static int answer_size;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void make_answer(int body_bytes) {
    answer_size = sprintf(answer,
                          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", body_bytes);
    memset(answer + answer_size, 'x', body_bytes);
    answer_size += body_bytes;
}

/* Return the length of the first request, or 0 if it is not whole yet. */
static int request_size(const char *bytes, int size) {
    const char *end = strstr(bytes, "\r\n\r\n"), *length = strcasestr(bytes, "\r\nContent-Length:");
    if (!end) return 0;
    int whole = end + 4 - bytes + (length && length < end ? atoi(length + 17) : 0);
    return whole <= size ? whole : 0;
}

static void hang_up(int fd) {
    free(clients[fd]);
    clients[fd] = NULL;
    close(fd);
}

static void serve(int fd) {
    Client *client = clients[fd];
    int got = read(fd, client->bytes + client->size, REQUEST_BYTES - client->size), size;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { hang_up(fd); return; }
    client->size += got;
    client->bytes[client->size] = 0;
    while ((size = request_size(client->bytes, client->size))) {
        client->size -= size;
        memmove(client->bytes, client->bytes + size, client->size + 1);
        if (write(fd, answer, answer_size) != answer_size) { hang_up(fd); return; }
    }
}

static void welcome(int listener, int poll) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), one = 1;
    if (fd < 0 || fd >= FILES_MAX) die("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    clients[fd] = calloc(1, sizeof(Client));
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    struct epoll_event ready[1024];
    int listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    make_answer(argc > 1 ? atoi(argv[1]) : 200);
    if (bind(listener, (void *)&at, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (void *)&at, &size);
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    printf("listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poll, ready, 1024, -1);
        for (int i = 0; i < count; i++)
            if (ready[i].data.fd == listener) welcome(listener, poll);
            else serve(ready[i].data.fd);
    }
}
