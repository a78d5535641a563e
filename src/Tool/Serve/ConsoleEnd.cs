using System.IO.Pipelines;
using Microsoft.Win32.SafeHandles;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>Where a console leads: the streams of standard input and output, of a pseudo-terminal, or of a file.</summary>
internal sealed class ConsoleEnd : IDisposable
{
    private static readonly TimeSpan _longestEnd = TimeSpan.FromSeconds(2);

    private readonly Stream? _input;
    private readonly Stream _output;
    private readonly SafeFileHandle? _terminal;
    private readonly byte[]? _terminalBefore;
    private ConsolePort? _port;
    private Task _copying = Task.CompletedTask;

    private ConsoleEnd(Stream? input, Stream output, SafeFileHandle? terminal = null, byte[]? terminalBefore = null)
    {
        _input = input;
        _output = output;
        _terminal = terminal;
        _terminalBefore = terminalBefore;
    }

    /// <summary>A terminal on standard input passes on every key but those that are signals.</summary>
    internal static ConsoleEnd OpenStandard()
    {
        SafeFileHandle terminal = new(0, ownsHandle: false);
        return new ConsoleEnd(Console.OpenStandardInput(), Console.OpenStandardOutput(), terminal, Libc.MakeTerminalRaw(terminal, keepSignals: true));
    }

    internal static ConsoleEnd OpenFile(string path) => new(null, new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 0));

    /// <summary>The other end is held open too, so that what the guest writes waits there for the first who looks.</summary>
    internal static ConsoleEnd OpenPseudoTerminal(out string path)
    {
        SafeFileHandle master = Libc.OpenPseudoTerminal(out path);
        SafeFileHandle other = Libc.OpenTerminal(path);
        Libc.MakeTerminalRaw(other, keepSignals: false);
        FileStream stream = new(master, FileAccess.ReadWrite, bufferSize: 0);
        return new ConsoleEnd(stream, stream, other);
    }

    /// <summary>Connects a port, until the program ends.</summary>
    internal void Connect(ConsolePort port)
    {
        _port = port;
        _copying = Task.Run(() => CopyOutAsync(port.Input));
        if (_input is not null)
            _ = Task.Run(() => CopyInAsync(port.Output)); // ends with the program: a read of a terminal cannot be cancelled
    }

    /// <summary>Nothing comes from the guest any more: what has come is written, unless nobody takes it.</summary>
    internal async Task EndAsync()
    {
        _port?.Input.CancelPendingRead();
        await Task.WhenAny(_copying, Task.Delay(_longestEnd));
    }

    public void Dispose()
    {
        if (_terminalBefore is not null)
            Libc.RestoreTerminal(_terminal!, _terminalBefore);
        _terminal?.Dispose();
        if (_copying.IsCompleted)
            _output.Dispose();
    }

    private async Task CopyOutAsync(PipeReader reader)
    {
        try
        {
            for (ReadResult read = default; !read.IsCanceled && !read.IsCompleted;)
            {
                read = await reader.ReadAsync();
                foreach (ReadOnlyMemory<byte> segment in read.Buffer)
                    await _output.WriteAsync(segment);
                await _output.FlushAsync();
                reader.AdvanceTo(read.Buffer.End);
            }
        }
        catch (IOException failure)
        {
            ToolOutput.PrintError($"What the guest writes from now on is lost: {FailureText.Of(failure)}");
            await reader.CompleteAsync(); // the guest goes on
        }
    }

    private async Task CopyInAsync(PipeWriter writer)
    {
        try
        {
            while (true)
            {
                int count = await _input!.ReadAsync(writer.GetMemory());
                if (count == 0)
                    return;
                writer.Advance(count);
                await writer.FlushAsync();
            }
        }
        catch (Exception failure) when (failure is IOException or ObjectDisposedException)
        {
            // Nobody types any more; the guest can still be heard.
        }
    }
}
