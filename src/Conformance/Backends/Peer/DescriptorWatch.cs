using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Descriptors to give away of which it shows whether the receiver has closed them: writing ends of one pipe.</summary>
internal sealed class DescriptorWatch : IDisposable
{
    private readonly SafeFileHandle _reader;
    private readonly SafeFileHandle _writer;

    public DescriptorWatch() => (_reader, _writer) = Libc.Pipe();

    public SafeHandle[] Give(int count) => [.. Enumerable.Repeat<SafeHandle>(_writer, count)];

    /// <summary>Whether nobody holds one of them any more, within a time; this side gives its own up.</summary>
    public async Task<bool> AreClosedAsync(TimeSpan time)
    {
        _writer.Dispose();
        long begun = Stopwatch.GetTimestamp();
        while (Libc.Poll(_reader, 0, 0) <= 0) // nothing but the end is reported
        {
            if (Stopwatch.GetElapsedTime(begun) >= time)
                return false;
            await Task.Delay(1).ConfigureAwait(false);
        }

        return true;
    }

    public void Dispose()
    {
        _reader.Dispose();
        _writer.Dispose();
    }
}
