//! How long an audio file is by its own header: WAV, FLAC, MP3 and MP4 with its index in front. What
//! names no length, or is cut before it, has none here.

use farebox_pricing::money::Decimal;
use memchr::memmem;

/// Digits behind the point.
const SCALE: u8 = 3;

/// The seconds of a file of `len` bytes that begins so.
pub(super) fn seconds(head: &[u8], len: u64) -> Option<Decimal> {
    let (units, per_second) = wav(head, len)
        .or_else(|| flac(head))
        .or_else(|| mp4(head))
        .or_else(|| mp3(head, len))?;
    if per_second == 0 {
        return None;
    }
    let thousandths = u128::from(units).checked_mul(1000)? / u128::from(per_second);
    Decimal::new(i128::try_from(thousandths).ok()?, SCALE).ok()
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u64::from(u32::from_be_bytes(word.try_into().ok()?)))
}

fn little(bytes: &[u8], at: usize) -> Option<u64> {
    word(bytes, at).map(|word| u64::from(u32::try_from(word).unwrap_or(0).swap_bytes()))
}

/// Bytes of samples, and how many make a second.
fn wav(head: &[u8], len: u64) -> Option<(u64, u64)> {
    if !head.starts_with(b"RIFF") || head.get(8..12)? != b"WAVE" {
        return None;
    }
    let mut at: usize = 12;
    let mut rate = None;
    loop {
        let name = head.get(at..at.checked_add(4)?)?;
        let size = little(head, at + 4)?;
        let content = at + 8;
        match name {
            b"fmt " => rate = little(head, content + 8),
            b"data" => {
                // Streams write a size of nothing or everything; then the file says.
                let left = len.saturating_sub(content as u64);
                let bytes = if size == 0 { left } else { size.min(left) };
                return Some((bytes, rate?));
            }
            _ => {}
        }
        at = content
            .checked_add(usize::try_from(size).ok()?)?
            .checked_add(usize::try_from(size % 2).ok()?)?;
    }
}

/// Samples, and how many make a second, by the first block of metadata.
fn flac(head: &[u8]) -> Option<(u64, u64)> {
    if !head.starts_with(b"fLaC") || head.get(4)? & 0x7f != 0 {
        return None;
    }
    let info = head.get(8..42)?;
    let rate = word(info, 10)? >> 12;
    let samples = (u64::from(info[13] & 0x0f) << 32) | word(info, 14)?;
    (samples > 0).then_some((samples, rate))
}

/// Units of the movie's own clock.
fn mp4(head: &[u8]) -> Option<(u64, u64)> {
    if head.get(4..8)? != b"ftyp" {
        return None;
    }
    let at = memmem::find(head, b"mvhd")? + 4;
    match head.get(at)? {
        0 => Some((word(head, at + 16)?, word(head, at + 12)?)),
        1 => {
            let duration = (word(head, at + 24)? << 32) | word(head, at + 28)?;
            Some((duration, word(head, at + 20)?))
        }
        _ => None,
    }
}

/// Layer III: its number of frames where it has one, else its size by the rate of its first frame.
fn mp3(head: &[u8], len: u64) -> Option<(u64, u64)> {
    const KBITS_1: [u64; 15] = [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ];
    const KBITS_2: [u64; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    const HERTZ: [u64; 3] = [44_100, 48_000, 32_000];
    let mut at = 0;
    if head.starts_with(b"ID3") {
        let size = head.get(6..10)?;
        let size = size
            .iter()
            .fold(0usize, |size, byte| size << 7 | usize::from(byte & 0x7f));
        at = 10usize.checked_add(size)?;
    }
    let frame = head.get(at..)?;
    let [0xff, second, third, fourth, ..] = frame else {
        return None;
    };
    // Layer III of MPEG 1, 2 or 2.5.
    if second & 0xe6 != 0xe2 {
        return None;
    }
    let version = second >> 3 & 3;
    let shift = match version {
        3 => 0,
        2 => 1,
        0 => 2,
        _ => return None,
    };
    let rates = if version == 3 { KBITS_1 } else { KBITS_2 };
    let kbits = *rates.get(usize::from(third >> 4))?;
    let hertz = HERTZ.get(usize::from(third >> 2 & 3))? >> shift;
    let is_mono = fourth >> 6 == 3;
    let (samples, side) = match (version, is_mono) {
        (3, false) => (1152, 32),
        (3, true) => (1152, 17),
        (_, false) => (576, 17),
        (_, true) => (576, 9),
    };
    let tag = 4 + side;
    if matches!(frame.get(tag..tag + 4), Some(b"Xing" | b"Info")) && word(frame, tag + 4)? & 1 == 1
    {
        return Some((word(frame, tag + 8)?.checked_mul(samples)?, hertz));
    }
    let bytes = len.saturating_sub(at as u64);
    (kbits > 0).then_some((bytes.checked_mul(8)?, kbits * 1000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(head: &[u8], len: u64, expected: Option<&str>) {
        let expected = expected.map(|text| text.parse::<Decimal>().unwrap());
        assert_eq!(seconds(head, len), expected);
    }

    fn wav_of(size: u32) -> Vec<u8> {
        let mut head = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x01\0".to_vec();
        head.extend(16_000u32.to_le_bytes());
        head.extend(32_000u32.to_le_bytes());
        head.extend(b"\x02\0\x10\0data");
        head.extend(size.to_le_bytes());
        head
    }

    #[test]
    fn a_wav_is_as_long_as_its_samples() {
        let head = wav_of(48_000);
        let header = head.len() as u64;
        check(&head, header + 48_000, Some("1.5"));
        check(&wav_of(0), header + 32_000, Some("1"));
        check(&wav_of(u32::MAX), header + 32_000, Some("1"));
        check(&head[..head.len() - 5], header, None);
    }

    #[test]
    fn others_are_as_long_as_they_say() {
        let mut flac = b"fLaC\0\0\0\x22".to_vec();
        flac.extend([0; 10]);
        // 16,000 Hz, one channel, 16 bits; 40,000 samples.
        flac.extend([0x03, 0xe8, 0x00, 0xf0, 0, 0, 0x9c, 0x40]);
        flac.extend([0; 16]);
        check(&flac, 9_999, Some("2.5"));

        let mut mp4 = b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\0\x74moov\0\0\0\x6cmvhd".to_vec();
        mp4.extend([0; 12]);
        mp4.extend(1000u32.to_be_bytes());
        mp4.extend(4250u32.to_be_bytes());
        check(&mp4, 9_999, Some("4.25"));

        // MPEG 1, 128 kbit/s, 44,100 Hz.
        let mut mp3 = vec![0xff, 0xfb, 0x90, 0x00];
        check(&mp3, 32_000, Some("2"));
        mp3.extend([0; 32]);
        mp3.extend(b"Xing\0\0\0\x01\0\0\x01\0");
        check(&mp3, 32_000, Some("6.687"));
        let tagged = [b"ID3\x04\0\0\0\0\0\x02xx".as_slice(), &mp3].concat();
        check(&tagged, 32_000, Some("6.687"));
        check(b"OggS\0\x02", 32_000, None);
        check(b"", 0, None);
    }

    proptest! {
        #[test]
        fn no_head_is_its_end(
            start in prop::sample::select(vec![
                &b"RIFF\0\0\0\0WAVEfmt "[..], b"fLaC\0", b"\0\0\0\0ftypmvhd\x01", b"\xff\xfb", b"ID3", b"",
            ]),
            rest in prop::collection::vec(any::<u8>(), 0..80),
            len in any::<u64>(),
        ) {
            let _ = seconds(&[start, &rest].concat(), len);
        }
    }
}
