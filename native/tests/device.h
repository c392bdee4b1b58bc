/* A stand-in for /dev/fuse. The lane's read, write and writev of its descriptor end up here (--wrap); poll sees an
 * eventfd that is readable while there is a message.
 *
 * It checks what the kernel checks: a reply that is malformed, that nobody waits for, or that comes twice ends the test.
 *
 * Threads: any number of clients; one that receives. */
#ifndef PCV_TESTS_DEVICE_H
#define PCV_TESTS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A message that waits for its reply. Lives at the client's until device_wait has returned. */
struct request {
    uint8_t *reply; /* what follows the header goes here; NULL if nothing may follow it */
    size_t room;
    size_t reply_size;
    int error; /* of the reply, positive */

    uint64_t unique; /* from here on the device's */
    bool is_done;
    struct request *next;
};

/* A new mount; its descriptor. One at a time. */
int device_open(void);
void device_close(int fd);

/* Put a message into the queue; its header's unique and len are filled in. request NULL: no reply may come. */
void device_send(struct request *request, void *message, size_t size);

/* As it is: too short for a header. */
void device_send_raw(const void *message, size_t size);

/* Wait for the reply. False: the mount ended before. */
bool device_wait(struct request *request);

/* The mount is gone: reads fail with that errno, requests that wait get no reply any more. */
void device_end(int error);

/* The message that the lane was given under that number, or NULL. Until it is replied to, or device_forget. */
const uint8_t *device_sent(uint64_t unique, size_t *size);
void device_forget(uint64_t unique);

/* Messages that came up without having been asked for, since the mount. */
unsigned int device_notifications(void);

#endif
