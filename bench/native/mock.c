/* A mock upstream: one thread, epoll, canned bytes; several times quicker than anything measured with it.
 *
 * mock CHUNKS INTERVAL_MS: says its port on its first line. A request whose body holds "stream":true is answered with
 * CHUNKS events, all at once but one write each, or with "paced" in its body one every INTERVAL_MS; any other with JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 65536
#define ROOM 65536

struct connection {
    char *data;      /* what of a request has come */
    size_t held;
    int left;        /* chunks of a stream that are still to be sent */
    double due;      /* when the next one of a paced stream goes, 0 for one without a pace */
};

static struct connection connections[MAX_FD];
static int paced[MAX_FD], paced_count; /* sockets with a paced stream */
static int chunks;
static double interval;
static char plain[4096], chunk[1024], tail[1024];
static size_t plain_size, chunk_size, tail_size;
static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static size_t framed(char *to, const char *text) { return sprintf(to, "%zx\r\n%s\r\n", strlen(text), text); }

static void prepare(void) {
    char body[2048], words[512] = "";
    for (int i = 0; i < 60; i++) strcat(words, "word ");
    int size = sprintf(body,
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":60,\"total_tokens\":80}}", words);
    plain_size = sprintf(plain, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", size, body);
    chunk_size = framed(chunk,
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini\","
        "\"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},"
        "\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n");
    tail_size = framed(tail,
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini\",\"choices\":[],"
        "\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":200,\"total_tokens\":220}}\n\n");
    tail_size += framed(tail + tail_size, "data: [DONE]\n\n");
    tail_size += sprintf(tail + tail_size, "0\r\n\r\n");
}

static void drop(int fd) {
    for (int i = 0; i < paced_count; i++)
        if (paced[i] == fd) paced[i--] = paced[--paced_count];
    free(connections[fd].data);
    memset(&connections[fd], 0, sizeof connections[fd]);
    close(fd);
}

/* Sends all of it; a peer that is slow to read holds the mock up for a moment, which loopback buffers make rare. */
static int put(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n < 0) return -1;
        data += n, size -= n;
    }
    return 0;
}

static int answer(int fd, const char *body) {
    struct connection *c = &connections[fd];
    if (!strstr(body, "\"stream\":true")) return put(fd, plain, plain_size);
    if (put(fd, head, sizeof head - 1)) return -1;
    if (strstr(body, "\"paced\"")) {
        c->left = chunks, c->due = now();
        paced[paced_count++] = fd;
        return 0;
    }
    for (int i = 0; i < chunks; i++)
        if (put(fd, chunk, chunk_size)) return -1;
    return put(fd, tail, tail_size);
}

static int received(int fd) {
    struct connection *c = &connections[fd];
    ssize_t n = recv(fd, c->data + c->held, ROOM - 1 - c->held, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
    c->held += n;
    for (;;) {
        c->data[c->held] = 0;
        char *end = strstr(c->data, "\r\n\r\n");
        if (!end) return 0;
        char *length = strcasestr(c->data, "\r\ncontent-length:");
        size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
        size_t whole = end + 4 - c->data + body;
        if (c->held < whole) return 0;
        char kept = c->data[whole];
        c->data[whole] = 0;
        if (answer(fd, end + 4)) return -1;
        c->data[whole] = kept;
        c->held -= whole;
        memmove(c->data, c->data + whole, c->held);
    }
}

/* Sends what is due of the paced streams; gives the milliseconds until the next one is. */
static int pace(void) {
    double at = now(), next = at + 1;
    for (int i = 0; i < paced_count; i++) {
        int fd = paced[i];
        struct connection *c = &connections[fd];
        while (c->left && c->due <= at) {
            if (put(fd, chunk, chunk_size)) { c->left = -1; break; }
            c->left--, c->due += interval;
        }
        if (c->left <= 0) {
            if (c->left == 0) put(fd, tail, tail_size);
            paced[i--] = paced[--paced_count];
        } else if (c->due < next) next = c->due;
    }
    int wait = (int)((next - now()) * 1000 + 0.999);
    return wait < 0 ? 0 : wait;
}

int main(int argc, char **argv) {
    chunks = argc > 1 ? atoi(argv[1]) : 200;
    interval = (argc > 2 ? atof(argv[2]) : 20) / 1000;
    struct rlimit files = {MAX_FD, MAX_FD};
    setrlimit(RLIMIT_NOFILE, &files);
    prepare();
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (void *)&address, size) || listen(listener, 4096)) return perror("mock"), 1;
    getsockname(listener, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(poll, events, 256, paced_count ? pace() : -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (received(fd)) drop(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= MAX_FD) { close(fd); continue; }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                connections[fd].data = malloc(ROOM);
                event.data.fd = fd;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
