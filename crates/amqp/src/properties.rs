//! The content header: class, body size, and the fourteen properties of `basic`. The properties stay the bytes they
//! came in; an accessor walks over what precedes it, which is cheaper than taking all fourteen apart.
//! (AMQP 0-9-1, 4.2.6.1)

use crate::read::Reader;
use crate::write::Writer;
use crate::{DecodeError, Table};

/// A content header frame's payload.
#[derive(Debug, Clone, Copy)]
pub struct ContentHeader<'a> {
    /// 60, `basic`, in every content there is.
    pub class_id: u16,
    /// Bytes of the body frames that follow, together.
    pub body_size: u64,
    /// What describes the body.
    pub properties: Properties<'a>,
}

impl<'a> ContentHeader<'a> {
    /// Reads the payload of a header frame.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let class_id = reader.short()?;
        let weight = reader.short()?;
        let body_size = reader.longlong()?;
        let properties = Properties::parse(reader.rest())?;
        if weight == 0 {
            Ok(Self { class_id, body_size, properties })
        } else {
            Err(DecodeError::Weight(weight))
        }
    }
}

/// The validated properties of a message.
#[derive(Debug, Clone, Copy)]
pub struct Properties<'a> {
    raw: &'a [u8],
    flags: u16,
}

/// No properties at all.
impl Default for Properties<'_> {
    fn default() -> Self {
        Self { raw: &[0, 0], flags: 0 }
    }
}

impl<'a> Properties<'a> {
    /// Takes bytes that `raw` gave, for example from the log. Other bytes make properties absent, nothing worse.
    #[inline]
    pub fn from_validated(raw: &'a [u8]) -> Self {
        Reader::new(raw).short().map_or_else(|_| Self::default(), |flags| Self { raw, flags })
    }

    /// Flags and properties as they arrived.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

macro_rules! property_type {
    (octet) => { u8 };
    (timestamp) => { u64 };
    (shortstr) => { &'a [u8] };
    (table) => { Table<'a> };
}

macro_rules! read {
    (octet $reader:ident) => { $reader.octet() };
    (timestamp $reader:ident) => { $reader.longlong() };
    // RabbitMQ does not ask for UTF-8 here.
    (shortstr $reader:ident) => { $reader.shortstr_unchecked() };
    (table $reader:ident) => { $reader.table() };
    (skip table $reader:ident) => { $reader.longstr() };
    (skip $kind:ident $reader:ident) => { read!($kind $reader) };
    (validated table $reader:ident) => { $reader.longstr().map(Table::from_validated) };
    (validated $kind:ident $reader:ident) => { read!($kind $reader) };
}

macro_rules! write {
    (timestamp $writer:ident $value:ident) => {
        $writer.longlong($value)
    };
    ($kind:ident $writer:ident $value:ident) => {
        $writer.$kind($value)
    };
}

/// One row per property: its bit, its name, its type. In the order of the wire.
macro_rules! properties {
    ($($(#[$doc:meta])* $bit:literal $name:ident: $kind:ident,)*) => {
        /// Names and types in the order of the wire.
        #[cfg(any(test, feature = "text"))]
        pub(crate) const PROPERTIES: &[(&str, &str)] = &[$((stringify!($name), stringify!($kind))),*];

        impl<'a> Properties<'a> {
            /// Checks flags and properties to the last byte. The two spare flags are ignored, as in RabbitMQ.
            #[inline]
            pub fn parse(raw: &'a [u8]) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(raw);
                let flags = reader.short()?;
                $(if flags & (1 << $bit) != 0 {
                    read!($kind reader)?;
                })*
                reader.end()?;
                Ok(Self { raw, flags })
            }

            /// Places the cursor in front of the property with that bit, if it is there.
            #[inline]
            fn seek(&self, bit: u16) -> Option<Reader<'a>> {
                if self.flags & (1 << bit) == 0 {
                    return None;
                }
                let mut reader = Reader::new(self.raw);
                reader.short().ok()?;
                $(if $bit > bit && self.flags & (1 << $bit) != 0 {
                    read!(skip $kind reader).ok()?;
                })*
                Some(reader)
            }

            $($(#[$doc])*
            #[inline]
            pub fn $name(&self) -> Option<property_type!($kind)> {
                let mut reader = self.seek($bit)?;
                read!(validated $kind reader).ok()
            })*
        }

        /// Properties taken apart, to be changed or made: `PropertyValues { priority: Some(3), ..Default::default() }`.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct PropertyValues<'a> {
            $($(#[$doc])* pub $name: Option<property_type!($kind)>,)*
        }

        impl<'a> From<Properties<'a>> for PropertyValues<'a> {
            fn from(properties: Properties<'a>) -> Self {
                Self { $($name: properties.$name(),)* }
            }
        }

        #[cfg(any(test, feature = "text"))]
        impl<'a> PropertyValues<'a> {
            /// The properties that are there.
            pub(crate) fn fields(&self) -> Vec<(&'static str, crate::Value<'a>)> {
                let mut fields = Vec::new();
                $(if let Some(value) = self.$name {
                    fields.push((stringify!($name), crate::methods::field_value!($kind value)));
                })*
                fields
            }
        }

        impl PropertyValues<'_> {
            /// Appends flags and properties: what `Properties::parse` reads.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let flags = 0u16 $(| (u16::from(self.$name.is_some()) << $bit))*;
                let mut writer = Writer::new(out);
                writer.short(flags);
                $(if let Some(value) = self.$name {
                    write!($kind writer value);
                })*
            }
        }
    };
}

properties! {
    /// The MIME type of the body.
    15 content_type: shortstr,
    /// The MIME encoding of the body.
    14 content_encoding: shortstr,
    /// The application's headers.
    13 headers: table,
    /// 2 is persistent, everything else transient.
    12 delivery_mode: octet,
    /// 0 to 255, larger is sooner.
    11 priority: octet,
    /// What a reply answers.
    10 correlation_id: shortstr,
    /// Where a reply should go.
    9 reply_to: shortstr,
    /// Time to live, milliseconds in decimal digits.
    8 expiration: shortstr,
    /// The application's id of the message.
    7 message_id: shortstr,
    /// Seconds since 1970.
    6 timestamp: timestamp,
    /// The application's type of the message; `type` on the wire.
    5 kind: shortstr,
    /// The user who published, verified when given.
    4 user_id: shortstr,
    /// The application that published.
    3 app_id: shortstr,
    /// Not used any more.
    2 cluster_id: shortstr,
}
