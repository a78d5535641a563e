using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Interop.Tests;

/// <summary>Lets children started meanwhile inherit a descriptor, under the same number.</summary>
internal sealed class InheritableDescriptor : IDisposable
{
    private const int SetDescriptorFlags = 2;
    private const int CloseOnExec = 1;

    private readonly SafeHandle _descriptor;
    private readonly bool _borrowed;

    internal InheritableDescriptor(SafeHandle descriptor)
    {
        _descriptor = descriptor;
        descriptor.DangerousAddRef(ref _borrowed);
        Set(0);
    }

    internal string Number => ((int)_descriptor.DangerousGetHandle()).ToString(CultureInfo.InvariantCulture);

    public void Dispose()
    {
        Set(CloseOnExec);
        if (_borrowed)
            _descriptor.DangerousRelease();
    }

    private void Set(int flags)
    {
        if (fcntl((int)_descriptor.DangerousGetHandle(), SetDescriptorFlags, flags) != 0)
            throw new InvalidOperationException($"fcntl failed: {Marshal.GetLastPInvokeError()}");
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int fcntl(int descriptor, int command, int value);
}
