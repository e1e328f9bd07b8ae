// NoThreads: while it exists, the process cannot start a thread: stacks are to be larger than the
// address space, so that pthread_create fails with EAGAIN.
#ifndef LIVEEXEC_HANDOFF_TESTING_NO_THREADS_H_
#define LIVEEXEC_HANDOFF_TESTING_NO_THREADS_H_

#include <pthread.h>

#include <cstddef>

namespace liveexec {

class NoThreads {
 public:
  NoThreads() {
    pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, size_t{1} << 50);
    pthread_setattr_default_np(&huge);
    pthread_attr_destroy(&huge);
  }
  ~NoThreads() {
    pthread_setattr_default_np(&before_);
    pthread_attr_destroy(&before_);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;

 private:
  pthread_attr_t before_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_TESTING_NO_THREADS_H_
