namespace Vhost.Protocol;

/// <summary>
/// What one side may leave to the other in one direction, by the negotiated features, and the judgement of a header against it. A header is two words: its
/// first eight bytes as a number (flags, gso_type, hdr_len, gso_size, csum_start), and csum_offset.
/// </summary>
internal readonly struct OffloadRules
{
    /// <summary>Every feature that leaves work to the other side, in either direction.</summary>
    internal const VirtioNetFeatures All =
        VirtioNetFeatures.Checksum | VirtioNetFeatures.HostTso4 | VirtioNetFeatures.HostTso6 | VirtioNetFeatures.HostEcn | VirtioNetFeatures.HostUfo
        | VirtioNetFeatures.HostUso | VirtioNetFeatures.GuestChecksum | VirtioNetFeatures.GuestTso4 | VirtioNetFeatures.GuestTso6
        | VirtioNetFeatures.GuestEcn | VirtioNetFeatures.GuestUfo | VirtioNetFeatures.GuestUso4 | VirtioNetFeatures.GuestUso6;

    private const ulong FlagsAndType = 0xFFFF;
    private const int Ecn = 0x80;

    private readonly uint _segmentations;
    private readonly bool _checksum;
    private readonly bool _ecn;
    private readonly bool _dataValid;

    private OffloadRules(bool checksum, uint segmentations, bool ecn, bool dataValid)
    {
        _checksum = checksum;
        _segmentations = segmentations;
        _ecn = ecn;
        _dataValid = dataValid;
    }

    /// <summary>Packets from the driver to the device: CSUM and the HOST bits.</summary>
    internal static OffloadRules FromDriver(VirtioFeatures acknowledged)
    {
        VirtioNetFeatures net = (VirtioNetFeatures)(ulong)acknowledged;
        uint kinds = Kind(net, VirtioNetFeatures.HostTso4, VirtioNetGsoType.TcpV4) | Kind(net, VirtioNetFeatures.HostTso6, VirtioNetGsoType.TcpV6)
            | Kind(net, VirtioNetFeatures.HostUfo, VirtioNetGsoType.Udp) | Kind(net, VirtioNetFeatures.HostUso, VirtioNetGsoType.UdpL4);
        return new OffloadRules((net & VirtioNetFeatures.Checksum) != 0, kinds, (net & VirtioNetFeatures.HostEcn) != 0, dataValid: false);
    }

    /// <summary>Packets from the device to the driver: the GUEST bits.</summary>
    internal static OffloadRules ToDriver(VirtioFeatures acknowledged)
    {
        VirtioNetFeatures net = (VirtioNetFeatures)(ulong)acknowledged;
        uint kinds = Kind(net, VirtioNetFeatures.GuestTso4, VirtioNetGsoType.TcpV4) | Kind(net, VirtioNetFeatures.GuestTso6, VirtioNetGsoType.TcpV6)
            | Kind(net, VirtioNetFeatures.GuestUfo, VirtioNetGsoType.Udp)
            | Kind(net, VirtioNetFeatures.GuestUso4 | VirtioNetFeatures.GuestUso6, VirtioNetGsoType.UdpL4);
        bool checksum = (net & VirtioNetFeatures.GuestChecksum) != 0;
        return new OffloadRules(checksum, kinds, (net & VirtioNetFeatures.GuestEcn) != 0, dataValid: checksum);
    }

    /// <summary>Nothing may be left to do: a header says nothing then (virtio 1.2, 5.1.6.4.2).</summary>
    internal bool IsEmpty => _segmentations == 0 && !_checksum && !_ecn && !_dataValid;

    /// <summary>Nothing is left to do: the rest of the header means nothing.</summary>
    internal static bool IsNone(ulong word) => (word & FlagsAndType) == 0;

    /// <summary>Somebody is to cut the packet.</summary>
    internal static bool IsCut(ulong word) => (byte)(word >> 8) != 0;

    /// <exception cref="ArgumentException">The features are not all of <see cref="All"/>.</exception>
    internal static void RequireKnown(VirtioNetFeatures chosen)
    {
        if ((chosen & ~All) != 0)
            throw new ArgumentException($"Offloads 0x{(ulong)(chosen & ~All):x}: only bits of AllOffloads can be chosen.");
    }

    /// <summary>
    /// Judges a header that came from the peer. What nobody negotiated or what points beyond the packet makes it unusable; flags that mean nothing are taken out.
    /// </summary>
    /// <param name="word">The first eight bytes.</param>
    /// <param name="checksumOffset">csum_offset.</param>
    /// <param name="length">Bytes of the packet.</param>
    /// <returns>False: the packet is to be dropped.</returns>
    internal bool TryAccept(ref ulong word, ref ushort checksumOffset, uint length)
    {
        VirtioNetHeaderFlags flags = (VirtioNetHeaderFlags)(byte)word;
        bool needsChecksum = (flags & VirtioNetHeaderFlags.NeedsChecksum) != 0;
        if (needsChecksum && !(_checksum && IsChecksumInside(word, checksumOffset, length)))
            return false;
        if ((byte)(word >> 8) != 0 && !IsSegmentationAllowed(word, length))
            return false;
        flags &= VirtioNetHeaderFlags.NeedsChecksum | (_dataValid ? VirtioNetHeaderFlags.DataValid : 0);
        word = (word & ~0xFFUL) | (byte)flags;
        if (IsNone(word))
            (word, checksumOffset) = (0, 0);
        else if (!needsChecksum)
            (word, checksumOffset) = (word & 0x0000_FFFF_FFFF_FFFF, 0);
        return true;
    }

    /// <summary>Judges what the application wants to leave to the peer.</summary>
    /// <param name="word">The first eight bytes; changed into what may be sent.</param>
    /// <param name="checksumOffset">csum_offset.</param>
    /// <param name="length">Bytes of the packet.</param>
    /// <returns>Whether it can be sent so, and whether the checksum must be completed first.</returns>
    internal OffloadVerdict Judge(ref ulong word, ushort checksumOffset, uint length)
    {
        VirtioNetHeaderFlags flags = (VirtioNetHeaderFlags)(byte)word;
        if ((byte)(word >> 8) != 0 && !IsSegmentationAllowed(word, length))
            return OffloadVerdict.Refuse;
        bool needsChecksum = (flags & VirtioNetHeaderFlags.NeedsChecksum) != 0;
        if (needsChecksum && !IsChecksumInside(word, checksumOffset, length))
            return OffloadVerdict.Refuse;
        if (needsChecksum && !_checksum && (byte)(word >> 8) != 0)
            return OffloadVerdict.Refuse; // each segment needs a checksum of its own
        VirtioNetHeaderFlags allowed = (_checksum ? VirtioNetHeaderFlags.NeedsChecksum : 0) | (_dataValid ? VirtioNetHeaderFlags.DataValid : 0);
        word = (word & ~0xFFUL) | (byte)(flags & allowed);
        return needsChecksum && !_checksum ? OffloadVerdict.CompleteChecksum : OffloadVerdict.Send;
    }

    /// <summary>Gets the header of a packet that is to be sent, after completing its checksum where the peer does not. False when it cannot be sent.</summary>
    /// <param name="packet">The packet.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="word">The first eight bytes of the header.</param>
    /// <param name="checksumOffset">csum_offset.</param>
    internal bool TryPrepare(PacketBuffer packet, uint length, out ulong word, out ushort checksumOffset)
    {
        (word, checksumOffset) = (packet.OffloadWord, packet.ChecksumOffset);
        if (IsNone(word))
        {
            (word, checksumOffset) = (0, 0);
            return true;
        }

        OffloadVerdict verdict = Judge(ref word, checksumOffset, length);
        if (verdict == OffloadVerdict.CompleteChecksum)
        {
            packet.CompleteChecksum();
            (word, checksumOffset) = (0, 0);
        }

        return verdict != OffloadVerdict.Refuse;
    }

    private static bool IsChecksumInside(ulong word, ushort checksumOffset, uint length) => (uint)(word >> 48) + checksumOffset + 2 <= length;

    private static uint Kind(VirtioNetFeatures acknowledged, VirtioNetFeatures feature, VirtioNetGsoType type) =>
        (acknowledged & feature) != 0 ? 1u << (int)type : 0;

    private bool IsSegmentationAllowed(ulong word, uint length)
    {
        int type = (byte)(word >> 8);
        int kind = type & ~Ecn;
        bool tcp = kind is (int)VirtioNetGsoType.TcpV4 or (int)VirtioNetGsoType.TcpV6;
        return kind < 32
            && ((_segmentations >> kind) & 1) != 0
            && ((type & Ecn) == 0 || (_ecn && tcp))
            && (ushort)(word >> 32) != 0
            && (ushort)(word >> 16) <= length;
    }
}

/// <summary>What becomes of a packet that is to be sent.</summary>
internal enum OffloadVerdict
{
    /// <summary>It goes out.</summary>
    Send,

    /// <summary>The other side does not complete checksums: it goes out with a complete one.</summary>
    CompleteChecksum,

    /// <summary>The other side does not cut such segments, or the offload points beyond the packet.</summary>
    Refuse,
}
