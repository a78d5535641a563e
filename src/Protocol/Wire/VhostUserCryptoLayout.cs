namespace Vhost.Protocol;

/// <summary>
/// The three layouts of a crypto session that exist on the wire. The specification names none; the size tells the third from the others, and
/// the producer the first from the second.
/// </summary>
public enum VhostUserCryptoLayout
{
    /// <summary>632 bytes: session identifier at 0, 32-bit operation at 8, parameters from 12 (DPDK up to 24.11).</summary>
    WithOperation,

    /// <summary>632 bytes: session identifier at 0, no operation, parameters from 8 (QEMU up to 7.2).</summary>
    WithoutOperation,

    /// <summary>1072 bytes: operation at 0, parameters from 8, session identifier at 1064 (QEMU from 8.1, DPDK from 25.03).</summary>
    Wide,
}
