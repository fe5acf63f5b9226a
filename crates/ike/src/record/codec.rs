//! Values as octets and back: what a recording is made of.
//!
//! The lists of fields and variants in `types` are checked by the compiler: who adds one to a type adds
//! it there. Numbers are in network order, lists have their length in front.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use adit_crypto::Secret;
use adit_wire::{Reader, WireError, Writer};

/// A value that is written and read back as the same.
pub(crate) trait Coded: Sized {
    /// Appends the value.
    fn put(&self, w: &mut Writer<'_>);

    /// Reads what [`Self::put`] has written.
    fn take(r: &mut Reader<'_>) -> Result<Self, WireError>;
}

/// Values that are all of their fields.
macro_rules! structs {
    ($($type:ty { $($field:ident),* })*) => {$(
        impl Coded for $type {
            fn put(&self, w: &mut Writer<'_>) {
                let Self { $($field),* } = self;
                $($field.put(w);)*
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self { $($field: Coded::take(r)?),* })
            }
        }
    )*};
}

/// Values with a name for a number.
macro_rules! wrappers {
    ($($type:ident)*) => {$(
        impl Coded for $type {
            fn put(&self, w: &mut Writer<'_>) {
                self.0.put(w);
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                Coded::take(r).map(Self)
            }
        }
    )*};
}

/// Values that are one of several, each with its number.
macro_rules! enums {
    ($($type:ident { $(
        $number:literal $variant:ident $(( $($part:ident),* ))? $({ $($field:ident),* })?
    ),* })*) => {$(
        impl Coded for $type {
            fn put(&self, w: &mut Writer<'_>) {
                match self {$(
                    Self::$variant $(( $($part),* ))? $({ $($field),* })? => {
                        w.u8($number);
                        $($($part.put(w);)*)?
                        $($($field.put(w);)*)?
                    }
                )*}
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                match r.u8()? {
                    $($number => {
                        $($(let $part = Coded::take(r)?;)*)?
                        $($(let $field = Coded::take(r)?;)*)?
                        Ok(Self::$variant $(( $($part),* ))? $({ $($field),* })?)
                    })*
                    other => Err(WireError::BadValue(stringify!($type), other.into())),
                }
            }
        }
    )*};
}

/// Values that are read as people write them.
macro_rules! texts {
    ($($type:ident)*) => {$(
        impl Coded for $type {
            fn put(&self, w: &mut Writer<'_>) {
                self.to_string().put(w);
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                let text = String::take(r)?;
                text.parse().map_err(|_| WireError::BadValue(stringify!($type), 0))
            }
        }
    )*};
}

pub(crate) use {enums, structs, texts, wrappers};

macro_rules! numbers {
    ($($type:ident)*) => {$(
        impl Coded for $type {
            fn put(&self, w: &mut Writer<'_>) {
                w.$type(*self);
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                r.$type()
            }
        }
    )*};
}

numbers! { u8 u16 u32 u64 }

impl Coded for usize {
    fn put(&self, w: &mut Writer<'_>) {
        w.u64(u64::try_from(*self).unwrap_or(u64::MAX));
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let number = r.u64()?;
        Self::try_from(number).map_err(|_| WireError::BadValue("number", number))
    }
}

impl Coded for bool {
    fn put(&self, w: &mut Writer<'_>) {
        w.u8((*self).into());
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::BadValue("flag", other.into())),
        }
    }
}

impl Coded for NonZeroU32 {
    fn put(&self, w: &mut Writer<'_>) {
        w.u32(self.get());
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::new(r.u32()?).ok_or(WireError::BadValue("number", 0))
    }
}

impl Coded for Duration {
    fn put(&self, w: &mut Writer<'_>) {
        w.u64(self.as_secs());
        w.u32(self.subsec_nanos());
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (seconds, nanoseconds) = (r.u64()?, r.u32()?);
        if nanoseconds >= NANOSECONDS {
            return Err(WireError::BadValue("nanoseconds", nanoseconds.into()));
        }
        Ok(Self::new(seconds, nanoseconds))
    }
}

/// Of a second.
const NANOSECONDS: u32 = 1_000_000_000;

/// Octets that follow each other, after their number.
pub(super) fn put_octets(octets: &[u8], w: &mut Writer<'_>) {
    w.u32(u32::try_from(octets.len()).unwrap_or(u32::MAX));
    w.bytes(octets);
}

/// What [`put_octets`] has written: no more than is there.
pub(super) fn take_octets<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let len = r.u32()?;
    r.bytes(usize::try_from(len).unwrap_or(usize::MAX))
}

impl Coded for String {
    fn put(&self, w: &mut Writer<'_>) {
        put_octets(self.as_bytes(), w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let octets = take_octets(r)?.to_vec();
        Self::from_utf8(octets).map_err(|_| WireError::BadValue("text", 0))
    }
}

/// Sentences that are in the program. A recording is read by a tool that ends soon, so what was read may
/// stay; it is no longer than the file.
impl Coded for &'static str {
    fn put(&self, w: &mut Writer<'_>) {
        put_octets(self.as_bytes(), w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        String::take(r).map(|text| &*text.leak())
    }
}

impl Coded for Secret {
    fn put(&self, w: &mut Writer<'_>) {
        put_octets(self.as_bytes(), w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        take_octets(r).map(Self::from_slice)
    }
}

/// Nothing is reserved by the length that is read; every element has an octet at least.
impl<T: Coded> Coded for Vec<T> {
    fn put(&self, w: &mut Writer<'_>) {
        w.u32(u32::try_from(self.len()).unwrap_or(u32::MAX));
        self.iter().for_each(|one| one.put(w));
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        (0..r.u32()?).map(|_| T::take(r)).collect()
    }
}

impl<T: Coded + Clone> Coded for Arc<[T]> {
    fn put(&self, w: &mut Writer<'_>) {
        self.to_vec().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Vec::take(r).map(Into::into)
    }
}

impl<T: Coded> Coded for Option<T> {
    fn put(&self, w: &mut Writer<'_>) {
        self.is_some().put(w);
        if let Some(one) = self {
            one.put(w);
        }
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        bool::take(r)?.then(|| T::take(r)).transpose()
    }
}

impl<T: Coded> Coded for Box<T> {
    fn put(&self, w: &mut Writer<'_>) {
        T::put(self, w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        T::take(r).map(Self::new)
    }
}

impl<T: Coded> Coded for Arc<T> {
    fn put(&self, w: &mut Writer<'_>) {
        T::put(self, w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        T::take(r).map(Self::new)
    }
}

impl Coded for Ipv4Addr {
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(&self.octets());
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.array::<4>().map(Into::into)
    }
}

impl Coded for Ipv6Addr {
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(&self.octets());
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.array::<16>().map(Into::into)
    }
}

enums! {
    IpAddr { 4 V4(address), 6 V6(address) }
    SocketAddr { 4 V4(address), 6 V6(address) }
}

impl Coded for SocketAddrV4 {
    fn put(&self, w: &mut Writer<'_>) {
        self.ip().put(w);
        self.port().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self::new(Coded::take(r)?, Coded::take(r)?))
    }
}

impl Coded for SocketAddrV6 {
    fn put(&self, w: &mut Writer<'_>) {
        self.ip().put(w);
        self.port().put(w);
        self.flowinfo().put(w);
        self.scope_id().put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (ip, port) = (Coded::take(r)?, Coded::take(r)?);
        Ok(Self::new(ip, port, Coded::take(r)?, Coded::take(r)?))
    }
}
