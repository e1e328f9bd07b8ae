// StreamImage: one stream to and from its record in an image.
#ifndef LIVEEXEC_HANDOFF_UV_STREAM_IMAGE_H_
#define LIVEEXEC_HANDOFF_UV_STREAM_IMAGE_H_

#include "absl/status/status.h"
#include "handoff/component.h"
#include "handoff/uv/images.capnp.h"
#include "handoff/uv/stream.h"

namespace liveexec::uv {

class StreamImage {
 public:
  // Fills `record` (all but `loop`). `stream` is open.
  static absl::Status Save(const Stream& stream, image::Stream::Builder record);
  // The same, and carries the fd as ("stream", id).
  static absl::Status Save(const Stream& stream, image::Stream::Builder record,
                           ExportContext& context);

  // Puts the bytes and flags of `record` into a stream just made, then lets its handler Load.
  static absl::Status Load(Stream& stream, image::Stream::Reader record);
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_STREAM_IMAGE_H_
