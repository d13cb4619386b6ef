//! How messages are encoded: by prost, with small buffers.
//!
//! An agent holds a stream for each of its workloads and has nothing to say on most of them. tonic's own buffers, made
//! for messages that follow each other, would be most of what such a stream takes.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Room for an answer with one identity, in bytes; longer messages take what they need.
const ANSWER: usize = 2048;
/// Room for a request, in bytes.
const REQUEST: usize = 256;
/// So many bytes are handed on before more messages are encoded: tonic's own value.
const YIELD_THRESHOLD: usize = 32 * 1024;

/// Encodes `T`, decodes `U`.
#[derive(Debug)]
pub(crate) struct SmallCodec<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(ANSWER, YIELD_THRESHOLD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(REQUEST, YIELD_THRESHOLD))
    }
}
