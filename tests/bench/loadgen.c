/* loadgen: a closed-loop load generator for servers that answer each request with lines.
 *
 *   cc -O2 -o loadgen loadgen.c
 *   ./loadgen --port P [--connections N] [--depth N] [--seconds S] [--login TEXT] [--lines N] --request TEXT
 *
 * Opens the connections to 127.0.0.1, sends each its login and waits for its line, then keeps `depth` requests in
 * flight on every one. In TEXT, \n is a line break, %c the connection's number, %k a new order key (a UUIDv7) for each
 * request. --lines says how many lines an answer has. The first tenth of the time warms up and is not counted.
 * With --idle it only logs in, prints {"idle": N} and waits for the end of its standard input.
 *
 * It is in C so that it is not what is measured: a request costs it about 2 µs beside its system calls, and it runs on
 * the other core. Prints one line of JSON: answers/s, how many had SUCCESS in them, latencies in ms from sending a
 * burst to each answer's last byte.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PORTS_OF_AN_ADDRESS 20000
#define SAMPLES_MAX 20000000
#define READ_BYTES (1 << 20)

typedef struct {
    int fd, in_flight, lines_left, matched;
    double sent_at;
} Client;

static int port, connections = 1, depth = 1, answer_lines = 1;
static double seconds = 3;
static const char *request = NULL, *login = NULL;
static bool idle = false, keyed = false;
static const char SUCCESS[] = "\"SUCCESS\"";

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int write_key(char *to) {
    static unsigned long long counter;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    unsigned long long ms = t.tv_sec * 1000ULL + t.tv_nsec / 1000000, n = counter++;
    return sprintf(to, "%08llx-%04llx-7%03llx-8%03llx-%012llx", ms >> 16, ms & 0xffff, (n >> 24) & 0xfff,
                   (n >> 12) & 0xfff, n * 2654435761ULL & 0xffffffffffffULL);
}

/* Write `text` with its placeholders filled in and an LF behind it; return its length. */
static int expand(const char *text, int number, char *to) {
    char *start = to;
    for (; *text; text++) {
        if (text[0] == '%' && text[1] == 'c') to += sprintf(to, "%d", number), text++;
        else if (text[0] == '%' && text[1] == 'k') to += write_key(to), text++;
        else if (text[0] == '\\' && text[1] == 'n') *to++ = '\n', text++;
        else *to++ = *text;
    }
    *to++ = '\n';
    return to - start;
}

static void write_all(int fd, const char *bytes, int size) {
    while (size > 0) {
        int n = write(fd, bytes, size);
        if (n < 0 && errno == EAGAIN) { usleep(20); continue; }
        if (n <= 0) die("write");
        bytes += n, size -= n;
    }
}

static void connect_client(Client *client, int number) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)}, from = {.sin_family = AF_INET};
    int one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number / PORTS_OF_AN_ADDRESS);
    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (client->fd < 0) die("socket");
    if (number >= PORTS_OF_AN_ADDRESS && bind(client->fd, (void *)&from, sizeof from)) die("bind");
    if (connect(client->fd, (void *)&to, sizeof to)) die("connect");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void log_in(Client *clients) {
    static char line[65536];
    for (int i = 0; i < connections; i++) {
        connect_client(&clients[i], i);
        if (login) write_all(clients[i].fd, line, expand(login, i, line));
    }
    for (int i = 0; i < connections; i++) {
        char byte = 0;
        while (login && byte != '\n')
            if (read(clients[i].fd, &byte, 1) != 1) die("login");
        fcntl(clients[i].fd, F_SETFL, O_NONBLOCK);
    }
}

static void send_burst(Client *client, int number) {
    static char *burst, *single;
    static int size;
    if (!burst) burst = malloc((size_t)depth * (strlen(request) + 4096));
    if (!single || keyed || strstr(request, "%c")) {
        size = 0;
        for (int i = 0; i < depth; i++) size += expand(request, number, burst + size);
        single = burst;
    }
    client->in_flight = depth, client->lines_left = answer_lines, client->sent_at = now();
    write_all(client->fd, burst, size);
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void report(long answers, long successes, double took, float *latency, long samples) {
    if (!samples) { fprintf(stderr, "no answer came\n"); exit(1); }
    qsort(latency, samples, sizeof *latency, by_value);
#define QUANTILE(q) latency[(long)((samples - 1) * (q))]
    printf("{\"per_s\": %.1f, \"answers\": %ld, \"success\": %ld, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f}\n",
           answers / took, answers, successes, QUANTILE(.5), QUANTILE(.99), QUANTILE(.999), QUANTILE(1));
}

static void run(Client *clients) {
    int poll = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(poll, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    static char bytes[READ_BYTES];
    struct epoll_event ready[1024];
    float *latency = malloc(SAMPLES_MAX * sizeof *latency);
    long answers = 0, successes = 0, samples = 0;
    double start = now(), count_from = start + seconds / 10, end = count_from + seconds;
    for (int i = 0; i < connections; i++) send_burst(&clients[i], i);
    while (now() < end) {
        int count = epoll_wait(poll, ready, 1024, 100);
        for (int j = 0; j < count; j++) {
            Client *client = &clients[ready[j].data.u32];
            int n = read(client->fd, bytes, READ_BYTES);
            if (n < 0 && errno == EAGAIN) continue;
            if (n <= 0) { fprintf(stderr, "the server closed a connection\n"); exit(1); }
            double at = now();
            bool counted = at >= count_from;
            for (char *byte = bytes; byte < bytes + n; byte++) {
                if (client->matched < 9)
                    client->matched = *byte == SUCCESS[client->matched] ? client->matched + 1 : *byte == '"';
                if (*byte != '\n' || --client->lines_left) continue;
                client->lines_left = answer_lines;
                answers += counted, successes += counted && client->matched == 9;
                client->matched = 0;
                if (counted && samples < SAMPLES_MAX) latency[samples++] = (at - client->sent_at) * 1e3;
                if (!--client->in_flight) send_burst(client, ready[j].data.u32);
            }
        }
    }
    report(answers, successes, now() - count_from, latency, samples);
}

static void parse(int argc, char **argv) {
    static struct option options[] = {
        {"port", 1, 0, 'p'}, {"connections", 1, 0, 'n'}, {"depth", 1, 0, 'd'}, {"seconds", 1, 0, 's'},
        {"login", 1, 0, 'l'}, {"lines", 1, 0, 'a'}, {"request", 1, 0, 'r'}, {"idle", 0, 0, 'i'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) switch (o) {
        case 'p': port = atoi(optarg); break;
        case 'n': connections = atoi(optarg); break;
        case 'd': depth = atoi(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'l': login = optarg; break;
        case 'a': answer_lines = atoi(optarg); break;
        case 'r': request = optarg; break;
        case 'i': idle = true; break;
        default: exit(2);
    }
    if (!port || (!request && !idle)) { fprintf(stderr, "--port and --request are needed\n"); exit(2); }
    keyed = request && strstr(request, "%k");
}

int main(int argc, char **argv) {
    parse(argc, argv);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    Client *clients = calloc(connections, sizeof *clients);
    log_in(clients);
    if (!idle) { run(clients); return 0; }
    printf("{\"idle\": %d}\n", connections);
    fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
