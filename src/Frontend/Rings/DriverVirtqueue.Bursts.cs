using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Many requests in one call.</summary>
public sealed partial class DriverVirtqueue
{
    /// <summary>Offers many requests of one buffer each to the device. It sees them at the next <see cref="Publish"/>.</summary>
    /// <param name="buffers">One buffer for each request.</param>
    /// <param name="deviceWrites">Whether the device writes the buffers, or reads them.</param>
    /// <param name="tokens">For each request what comes back with its completion.</param>
    /// <returns>How many were submitted, from the first on: fewer when the ring has no room for more at present; 0 when it is faulted.</returns>
    /// <exception cref="ArgumentException">The two have different lengths.</exception>
    public int SubmitBurst(ReadOnlySpan<GuestBuffer> buffers, bool deviceWrites, ReadOnlySpan<ulong> tokens) =>
        SubmitBurst(buffers, deviceWrites, tokens, stream: false);

    /// <summary>As above.</summary>
    /// <param name="buffers">One buffer for each request.</param>
    /// <param name="deviceWrites">Whether the device writes the buffers, or reads them.</param>
    /// <param name="tokens">For each request what comes back with its completion.</param>
    /// <param name="stream">The buffers were written with <see cref="PacketStream"/>.</param>
    internal int SubmitBurst(ReadOnlySpan<GuestBuffer> buffers, bool deviceWrites, ReadOnlySpan<ulong> tokens, bool stream)
    {
        Streamed |= stream;
        if (buffers.Length != tokens.Length)
        {
            ThrowUnequal(buffers.Length, tokens.Length);
        }

        int count = Fault == VirtqueueFault.None ? Math.Min(buffers.Length, FreeDescriptors) : 0;
        DescriptorFlags flags = deviceWrites ? DescriptorFlags.Write : DescriptorFlags.None;
        if (_split is not null)
        {
            _split.SubmitSingles(buffers[..count], flags, tokens, stream);
        }
        else
        {
            _packed!.SubmitSingles(buffers[..count], flags, tokens, stream);
        }

        InFlight += count;
        return count;
    }

    /// <summary>Offers many requests to the device. It sees them at the next <see cref="Publish"/>.</summary>
    /// <param name="chains">The requests.</param>
    /// <param name="buffers">The buffers of all of them, one request after the other.</param>
    /// <returns>How many were submitted, from the first on: fewer when the ring has no room for more at present; 0 when it is faulted.</returns>
    /// <exception cref="ArgumentException">A request has no buffer or more than the ring can ever hold, or there are fewer buffers than the requests name.</exception>
    public int SubmitBurst(ReadOnlySpan<DriverChain> chains, ReadOnlySpan<GuestBuffer> buffers)
    {
        int count = 0;
        foreach (DriverChain chain in chains)
        {
            if (chain.Readable < 0 || chain.Writable < 0 || chain.Readable > buffers.Length || chain.Writable > buffers.Length - chain.Readable)
            {
                ThrowTooFew(count, chain, buffers.Length);
            }

            if (!TrySubmit(buffers[..chain.Readable], buffers.Slice(chain.Readable, chain.Writable), chain.Token))
            {
                break;
            }

            buffers = buffers[(chain.Readable + chain.Writable)..];
            count++;
        }

        return count;
    }

    private static void ThrowUnequal(int buffers, int tokens) =>
        throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{tokens} tokens for {buffers} buffers"), nameof(tokens));

    private static void ThrowTooFew(int place, in DriverChain chain, int left) =>
        throw new ArgumentException(
            string.Create(CultureInfo.InvariantCulture, $"request {place} has {chain.Readable} readable and {chain.Writable} writable buffers, but {left} are left"));
}
