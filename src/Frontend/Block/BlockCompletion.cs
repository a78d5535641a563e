using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>A request that came back from a block device.</summary>
/// <param name="Slot">The slot it was submitted with, which is free again.</param>
/// <param name="Status">The device's answer, or <see cref="InvalidAnswer"/>.</param>
public readonly record struct BlockCompletion(int Slot, VirtioBlkStatus Status)
{
    /// <summary>
    /// In place of a status: the device wrote none, claims to have written more than there was room for, or says OK to a read that it filled only in
    /// part. The data must not be used.
    /// </summary>
    public const VirtioBlkStatus InvalidAnswer = (VirtioBlkStatus)0xFF;

    /// <summary>Whether the request succeeded.</summary>
    public bool IsOk => Status == VirtioBlkStatus.Ok;
}
